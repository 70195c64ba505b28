package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// The appliance is upgraded: the old version stops its web server before it restarts, and the new one is confirmed once
// its own answers. The machine is a disk in a file, with the model of firmware and loader.
func TestApplianceIsUpgraded(t *testing.T) {
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	one, err := images.Image("1.0.0", virtual.Spec{})
	require.NoError(t, err)
	two, err := images.Reference("2.0.0", virtual.Spec{})
	require.NoError(t, err)
	raw, err := disk.Create(filepath.Join(t.TempDir(), "disk.raw"), virtual.Size)
	require.NoError(t, err)
	require.NoError(t, upgrade.Install(t.Context(), raw, one, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: virtual.Partitions()}))
	require.NoError(t, raw.Close())
	vars, data := efivar.NewMemory(), t.TempDir()

	web := fmt.Sprintf("127.%d.%d.%d:8080", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)) // this test's alone
	socket := "unix:" + filepath.Join(t.TempDir(), "s")
	operator, err := client.New(socket)
	require.NoError(t, err)

	// boot starts what the loader would, until it restarts by itself or the test is over.
	boot := func(id, version string) (restarted chan bool, off func()) {
		raw, err := disk.Options{ReadOnly: true}.Open(raw.Name())
		require.NoError(t, err)
		_, err = predict.Boot(raw, vars, predict.Options{})
		require.NoError(t, errors.Join(err, raw.Close()))
		ctx, cancel := context.WithCancel(t.Context())
		restarted, ended := make(chan bool, 1), make(chan error, 1)
		c := node.Config{
			Disk: raw.Name(), Window: 10 * time.Millisecond,
			Machine: upgrade.OpenOptions{Loaders: loaders.All(), Vars: vars, Cmdline: new(string), BootID: id,
				Version: version},
			Reboot: func(context.Context, string) error {
				restarted <- ask(web) != nil
				return nil
			},
		}
		go func() { ended <- run(ctx, c, socket, web, data) }()
		return restarted, func() {
			cancel()
			require.NoError(t, <-ended)
		}
	}
	restarted, off := boot("first", "1.0.0")
	_, err = operator.AwaitAnswer(t.Context(), func(error) {})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return ask(web) == nil }, 10*time.Second, 10*time.Millisecond)
	_, err = operator.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: two, Reboot: true}, nil)
	require.NoError(t, err)
	require.True(t, <-restarted, "the web server is stopped by then")
	off()

	_, off = boot("second", "2.0.0")
	defer off()
	st, err := operator.Wait(t.Context(), &pawlv1.Expected{BootId: "first", Slot: "B", Trial: true,
		Image: imageIn(t, operator, "B")}, nil)
	require.NoError(t, err)
	require.Equal(t, "confirmed", st.Attempt.Result)
}

// ask asks a web server for its first page.
func ask(web string) error {
	answer, err := http.Get("http://" + web)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// imageIn is the digest of the image that a slot holds.
func imageIn(t *testing.T, c *client.Client, slot string) string {
	var digest string
	require.Eventually(t, func() bool {
		st, err := c.Status(t.Context())
		for _, s := range st.GetSlots() {
			if s.Name == slot {
				digest = s.Image
			}
		}
		return err == nil && digest != ""
	}, 10*time.Second, 10*time.Millisecond)
	return digest
}
