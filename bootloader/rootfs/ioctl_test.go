package rootfs

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testdata/ioctl.c made the text from the kernel's own header.
func TestTheBytesAreThoseOfTheKernelsHeader(t *testing.T) {
	text, err := os.ReadFile("testdata/ioctl.txt")
	require.NoError(t, err)
	numbers, dump, _ := strings.Cut(string(text), "\n")
	require.Equal(t, fmt.Sprintf("%x %x %x %x", dmCreate, dmRemove, dmSuspend, dmTableLoad), numbers)
	want, err := hex.DecodeString(strings.ReplaceAll(dump, "\n", ""))
	require.NoError(t, err)
	got, err := message{name: "root", uuid: "PAWL-A", readOnly: true, target: &Target{Sectors: 160, Type: "verity",
		Params: "1 /dev/vda5 /dev/vda5 4096 4096 20 21"}}.encode()
	require.NoError(t, err)
	require.Equal(t, hex.Dump(want), hex.Dump(got))
}

func TestWhatDoesNotFitIntoAMessageIsRefused(t *testing.T) {
	for name, m := range map[string]message{
		"no name":               {},
		"a long name":           {name: strings.Repeat("n", dmNameSize)},
		"a name with NUL":       {name: "a\x00b"},
		"a name that is a path": {name: "a/b"},
		"a long UUID":           {name: "a", uuid: strings.Repeat("u", dmUUIDSize)},
		"a long type":           {name: "a", target: &Target{Type: strings.Repeat("t", dmTypeSize)}},
		"NUL in a target":       {name: "a", target: &Target{Type: "verity", Params: "1\x002"}},
	} {
		_, err := m.encode()
		require.Error(t, err, name)
	}
	_, err := message{name: strings.Repeat("n", dmNameSize-1), uuid: strings.Repeat("u", dmUUIDSize-1)}.encode()
	require.NoError(t, err)
}

func TestTheDeviceOfAnAnswer(t *testing.T) {
	b, err := message{name: "root"}.encode()
	require.NoError(t, err)
	// As new_encode_dev of the kernel makes it of minor 0x1234 and major 0xfe.
	binary.NativeEndian.PutUint64(b[offDMDevice:], 0x12_0fe_34)
	name, minor, err := decodeDevice(b)
	require.NoError(t, err)
	require.Equal(t, "root", name)
	require.EqualValues(t, 0x1234, minor)
	_, _, err = decodeDevice(b[:dmHeader-1])
	require.Error(t, err)
	binary.NativeEndian.PutUint32(b[offDMVersion:], 5)
	_, _, err = decodeDevice(b)
	require.Error(t, err)
}
