package meta_test

import (
	"fmt"

	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
)

func Example() {
	device := disktest.New(1<<20, 512) // partition.Disk.Partition("META") on a real disk
	if err := meta.Format(device); err != nil {
		fmt.Println(err)
	}
	store, err := meta.Open(device)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = store.Update(func(v *meta.Values) error {
		v.Delete(meta.TagStagedImage)
		return v.Set(meta.TagAttempt, []byte(`{"state":"armed"}`))
	})
	if err != nil {
		fmt.Println(err)
	}
	value, err := store.Value(meta.TagAttempt)
	fmt.Println(string(value), err)
	_, err = store.Value(meta.TagStagedImage)
	fmt.Println(err)
	// Output:
	// {"state":"armed"} <nil>
	// tag 0x7: no value under this META tag
}
