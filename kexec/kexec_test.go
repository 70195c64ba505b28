package kexec

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/uki"
)

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func image(t *testing.T, sections ...uki.Section) *io.SectionReader {
	var b bytes.Buffer
	_, err := uki.Assemble(&b, section(loadertest.Stub()), sections...)
	require.NoError(t, err)
	return section(b.Bytes())
}

// given is what the running kernel got.
type given struct{ kernel, initrd, cmdline string }

func (g *given) take(kernel, initrd *os.File, cmdline string) error {
	for f, to := range map[*os.File]*string{kernel: &g.kernel, initrd: &g.initrd} {
		if f == nil {
			*to = "none"
			continue
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		data := make([]byte, info.Size())
		if _, err := f.ReadAt(data, 0); err != nil {
			return err
		}
		*to = string(data)
	}
	g.cmdline = cmdline
	return nil
}

func TestUKIIsTakenApart(t *testing.T) {
	r := image(t, uki.Bytes(uki.Cmdline, []byte("quiet panic=1\n\x00")), uki.Bytes(uki.Initrd, []byte("initramfs")),
		uki.Bytes(uki.Linux, []byte("kernel")))
	k, err := FromUKI(r, r.Size(), "pawl.slot=B")
	require.NoError(t, err)
	var g given
	require.NoError(t, k.load(g.take))
	require.Equal(t, given{"kernel", "initramfs", "pawl.slot=B quiet panic=1"}, g)

	r = image(t, uki.Bytes(uki.Cmdline, []byte("quiet")), uki.Bytes(uki.Linux, []byte("kernel")))
	k, err = FromUKI(r, r.Size())
	require.NoError(t, err)
	require.NoError(t, k.load(g.take))
	require.Equal(t, given{"kernel", "none", "quiet"}, g)

	r = image(t, uki.Bytes(uki.Linux, []byte("kernel"))) // without a command line of its own
	k, err = FromUKI(r, r.Size(), "pawl.slot=A")
	require.NoError(t, err)
	require.NoError(t, k.load(g.take))
	require.Equal(t, given{"kernel", "none", "pawl.slot=A"}, g)

	r = image(t, uki.Bytes(uki.Cmdline, []byte("quiet")))
	_, err = FromUKI(r, r.Size())
	require.ErrorIs(t, err, uki.ErrNoSection)
}

func TestCommandLinesThatTheKernelWouldCutAreRefused(t *testing.T) {
	for _, line := range []string{strings.Repeat("x", maxCmdline), "a\nb", "a\x00b"} {
		err := Kernel{Linux: section([]byte("kernel")), Cmdline: line}.load(func(*os.File, *os.File, string) error {
			return nil
		})
		require.ErrorIs(t, err, ErrKernel)
	}
}

func TestEveryRefusalIsExplained(t *testing.T) {
	for number, want := range map[error]struct {
		is   error
		says string
	}{
		unix.ENOSYS: {ErrUnsupported, "this kernel cannot kexec: it was built without CONFIG_KEXEC_FILE"},
		unix.EPERM: {ErrForbidden,
			"it is locked down (Secure Boot), kexec is switched off, or this is not root"},
		unix.EACCES:        {ErrForbidden, "a security module says no"},
		unix.EKEYREJECTED:  {ErrForbidden, "the next kernel's signature is not good"},
		unix.ENOKEY:        {ErrForbidden, "signed with no key that it knows"},
		unix.ENODATA:       {ErrForbidden, "it wants a signature and the next kernel has none"},
		unix.EBUSY:         {ErrBusy, "another program is loading a kernel: try again"},
		unix.ENOMEM:        {ErrKernel, "there is no memory to hold it"},
		unix.EADDRNOTAVAIL: {ErrKernel, "there is no memory where it has to lie"},
		unix.ENOEXEC:       {ErrKernel, "it is no kernel of a format that can be loaded"},
		unix.EINVAL:        {ErrKernel, "its arguments are not understood"},
	} {
		err := Kernel{Linux: section([]byte("kernel"))}.load(func(*os.File, *os.File, string) error { return number })
		require.ErrorIs(t, err, want.is)
		require.ErrorIs(t, err, number)
		require.ErrorContains(t, err, "load kernel: ")
		require.ErrorContains(t, err, want.says)
	}
	odd := errors.New("odd")
	require.Equal(t, odd, explain(odd))
}

func TestADryRunLeavesNothingLoaded(t *testing.T) {
	loaded := false
	give := func(*os.File, *os.File, string) error { loaded = true; return nil }
	unload := func() error { loaded = false; return nil }
	k := Kernel{Linux: section([]byte("kernel"))}
	require.NoError(t, k.try(give, unload))
	require.False(t, loaded)
	require.ErrorIs(t, k.try(func(*os.File, *os.File, string) error { return unix.ENOEXEC }, unload), ErrKernel)
	require.ErrorIs(t, k.try(give, func() error { return unix.EBUSY }), unix.EBUSY)
}

func TestCheckReadsWhatTheKernelShows(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		uid   int
		why   string
	}{
		"a plain kernel": {map[string]string{"proc/sys/kernel/kexec_load_disabled": "0\n",
			"sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}, 0, ""},
		"nothing shown": {nil, 0, ""},
		"integrity: signed only": {map[string]string{"sys/kernel/security/lockdown": "none [integrity] " +
			"confidentiality\n"}, 0, ""},
		"confidentiality": {map[string]string{"sys/kernel/security/lockdown": "none integrity " +
			"[confidentiality]\n"}, 0, "locked down"},
		"switched off by a sysctl": {map[string]string{"proc/sys/kernel/kexec_load_disabled": "1\n"}, 0,
			"kexec_load_disabled"},
		"not root": {nil, 1000, "only root"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, content := range test.files {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(root, path), []byte(content), 0o644))
			}
			err := check(root, test.uid)
			if test.why == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrForbidden)
			require.ErrorContains(t, err, test.why)
		})
	}
}
