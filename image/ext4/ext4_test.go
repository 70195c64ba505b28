package ext4_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/ext4"
	"github.com/pawl-os/pawl/partition/disktest"
)

const mib = 1 << 20

var (
	then    = time.Date(2039, 1, 2, 3, 4, 6, 7, time.UTC) // past the range of 32 bits
	options = ext4.Options{UUID: uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), Label: "STATE",
		Time: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
)

// system is what the tests put into a file system: each kind of node, and what a directory or an inode has no room for.
func system() (nodes []ext4.Node, content map[string]string) {
	content = map[string]string{
		"etc/hostname": "node-1\n", "empty": "", "var/log/large": strings.Repeat("0123456789abcdef", 1<<16),
	}
	long := strings.Repeat("n", 255)
	for i := range 300 {
		content[fmt.Sprintf("many/%s%04d", long[:240], i)] = fmt.Sprint(i)
	}
	for name, text := range content {
		nodes = append(nodes, ext4.Node{Path: name, Mode: 0o640, UID: 1000, GID: 70000, Time: then, Size: int64(len(text))})
	}
	content["etc/other"] = "node-1\n"
	return append(nodes, ext4.Node{Path: ".", Mode: fs.ModeDir | 0o711, Time: then},
		ext4.Node{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777, Time: then},
		ext4.Node{Path: "etc/other", Same: "etc/hostname"},
		ext4.Node{Path: "short", Mode: fs.ModeSymlink | 0o777, Target: "etc/hostname", Time: then},
		ext4.Node{Path: "long", Mode: fs.ModeSymlink | 0o777, Target: strings.Repeat("/x", 400), Time: then},
		ext4.Node{Path: "dev/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3, Time: then},
		ext4.Node{Path: "dev/disk", Mode: fs.ModeDevice | 0o600, Major: 259, Minor: 1000, Time: then},
		ext4.Node{Path: "pipe", Mode: fs.ModeNamedPipe | 0o600, Time: then},
		ext4.Node{Path: "bin/ping", Mode: fs.ModeSetuid | 0o755, Time: then, Attributes: map[string]string{
			"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
			"user.note":           "odd", "user.empty": "", "trusted.x": "1234"}}), content
}

// build makes a file system with its files.
func build(t *testing.T, dev *disktest.Disk, nodes []ext4.Node, content map[string]string) {
	t.Helper()
	l, err := ext4.Plan(dev.Size(), nodes, options)
	require.NoError(t, err)
	require.NoError(t, l.Format(dev))
	for _, n := range nodes {
		if n.Mode.IsRegular() && n.Same == "" {
			require.NoError(t, l.Write(dev, n.Path, strings.NewReader(content[n.Path])))
		}
	}
}

// The bytes depend neither on the order of nodes nor on what the device held.
func TestTheSameNodesMakeTheSameBytes(t *testing.T) {
	nodes, content := system()
	one, two := disktest.New(16*mib, 512), disktest.New(16*mib, 4096)
	build(t, one, nodes, content)
	_, err := two.WriteAt(bytes.Repeat([]byte{0xa5}, 16*mib), 0)
	require.NoError(t, err)
	back := make([]ext4.Node, 0, len(nodes))
	for i := range nodes {
		back = append(back, nodes[len(nodes)-1-i])
	}
	build(t, two, back, content)
	read := func(d *disktest.Disk) []byte {
		data, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size()))
		require.NoError(t, err)
		return data
	}
	a, b := read(one), read(two)
	for i := range a { // what nothing uses stays as it was
		if b[i] == 0xa5 && a[i] == 0 {
			b[i] = 0
		}
	}
	require.True(t, bytes.Equal(a, b))
}

func TestNodesThatAreRefused(t *testing.T) {
	file := func(path string) ext4.Node { return ext4.Node{Path: path, Mode: 0o644} }
	for says, nodes := range map[string][]ext4.Node{
		"a path that stays inside":          {file("../a")},
		"want a path":                       {file("/a")},
		"at most 255 bytes":                 {file(strings.Repeat("n", 256))},
		"no zero byte":                      {file("a\x00b")},
		"it is there twice":                 {file("a"), file("a")},
		"a is no directory":                 {file("a"), file("a/b")},
		"the root is a directory":           {file(".")},
		"a link to 0 bytes":                 {{Path: "l", Mode: fs.ModeSymlink}},
		"a link to 4096 bytes":              {{Path: "l", Mode: fs.ModeSymlink, Target: strings.Repeat("x", 4096)}},
		"neither file, directory":           {{Path: "s", Mode: fs.ModeSocket}},
		"device 4096:0 cannot be":           {{Path: "d", Mode: fs.ModeDevice, Major: 4096}},
		"which it is another name of":       {{Path: "h", Same: "gone"}},
		"another name of a directory":       {file("d/a"), {Path: "d", Mode: fs.ModeDir}, {Path: "h", Same: "d"}},
		"want a directory: e2fsck":          {file("lost+found")},
		`"system.posix_acl_access": want`:   {{Path: "a", Attributes: map[string]string{"system.posix_acl_access": ""}}},
		"they do not fit into a block":      {{Path: "a", Attributes: map[string]string{"user.a": strings.Repeat("x", 4090)}}},
		"KiB more are needed: the ext4 has": {{Path: "a", Size: 64 * mib}},
		"-1 bytes":                          {{Path: "a", Size: -1}},
	} {
		_, err := ext4.Plan(32*mib, nodes, options)
		require.ErrorContains(t, err, says)
	}
	_, err := ext4.Plan(15*mib, nil, options)
	require.ErrorIs(t, err, ext4.ErrNoSpace)
	_, err = ext4.Plan(32*mib, []ext4.Node{{Path: "a", Size: 64 * mib}}, options)
	require.ErrorIs(t, err, ext4.ErrNoSpace)
	_, err = ext4.Plan(1<<44, nil, options)
	require.ErrorContains(t, err, "less than 16 TiB")
	_, err = ext4.Plan(32*mib, nil, ext4.Options{Label: strings.Repeat("x", 17)})
	require.ErrorContains(t, err, "at most 16 bytes")
}

func TestAFileWithOtherBytesThanItsNodeSaid(t *testing.T) {
	d := disktest.New(32*mib, 512)
	l, err := ext4.Plan(d.Size(), []ext4.Node{{Path: "a", Size: 5000}}, options)
	require.NoError(t, err)
	require.ErrorIs(t, l.Write(d, "a", strings.NewReader("x")), io.ErrUnexpectedEOF)
	require.ErrorContains(t, l.Write(d, "a", strings.NewReader(strings.Repeat("x", 5001))), "more than 5000 bytes")
	require.ErrorIs(t, l.Write(d, "b", nil), fs.ErrNotExist)
	require.ErrorContains(t, l.Format(disktest.New(16*mib, 512)), "the device has 16777216 bytes")
}
