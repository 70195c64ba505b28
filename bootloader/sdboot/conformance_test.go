package sdboot_test

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

var backend = loadertest.Subject{
	Backend: sdboot.Backend{}, Files: map[string][]byte{"systemd-boot.efi": loadertest.Loader("amd64")},
}

// triedBy is backend with another way of trying, or other slots.
func triedBy(trial sdboot.Way, separate bool) loadertest.Subject {
	s := backend
	s.Way, s.Separate, s.NotIsolated = string(trial), separate, trial == sdboot.Counting
	return s
}

var (
	kernels  = triedBy("", true)
	direct   = triedBy(sdboot.BootNext, false)
	counting = triedBy(sdboot.Counting, false)
)

func TestConformance(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, backend)
}

func TestConformanceOfBootNext(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, direct)
}

func TestConformanceOfCounting(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, counting)
	t.Run("kernels", func(t *testing.T) {
		loadertest.Conformance(t, triedBy(sdboot.Counting, true))
	})
}

func TestConformanceOfKernels(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, kernels)
}
