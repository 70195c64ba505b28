// Command release makes what is given out: static programs for each architecture, built twice from the commit and
// compared; Debian's packages with unit, completions and manual pages, installed into an empty root and removed again;
// the installer's base image, as an OCI layout in an archive; what is in all of it as CycloneDX; checksums, and their
// signature.
//
//	go run ./internal/lab/release [-to DIR] [-sign-key FILE] [-shared-cache]
//
// It ends with "release: ok files=N" only if all of that holds. Without -sign-key checksums and image are not signed,
// and it says so. Two builds share no cache, so that what both say was compiled twice, unless -shared-cache is given.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// programs are what is given out, each with the most bytes that it may have.
var programs = []struct {
	name string
	most int64
}{{"installer", 13 << 20}, {forNodes, 11 << 20}, {"pawl", 14 << 20}, {"pawld", 18 << 20}}

// forNodes is the installer without the commands of a build machine. The base image runs it.
const forNodes = "installer-node"

// architectures are those for which they are.
var architectures = []string{"amd64", "arm64"}

// release is one run.
type release struct {
	to, key string
	shared  bool
	work    string    // what is thrown away
	time    time.Time // of the commit
	version string    // of the programs, as they say it
	files   []string  // what is given out, below to

	images map[string]string // digests of the base images, by architecture
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := &release{}
	flag.StringVar(&r.to, "to", filepath.Join("build", "release"), "directory to make anew")
	flag.StringVar(&r.key, "sign-key", "", "PEM file of the key that signs, as for installer pack")
	flag.BoolVar(&r.shared, "shared-cache", false, "let the second build use what the first compiled")
	flag.Parse()
	err := r.run(ctx)
	if r.work != "" {
		_ = os.RemoveAll(r.work)
	}
	if err != nil {
		fmt.Println("release: FAILED:", err)
		os.Exit(1)
	}
	fmt.Printf("release: ok files=%d\n", len(r.files))
}

func (r *release) run(ctx context.Context) (err error) {
	if r.to, err = filepath.Abs(r.to); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "pawl-release-"); err != nil {
		return err
	}
	if err := os.RemoveAll(r.to); err != nil {
		return err
	}
	if err := os.MkdirAll(r.to, 0o755); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"build", r.build}, {"manual", r.manual}, {"packages", r.packages}, {"install and remove", r.tryPackages},
		{"base image", r.base}, {"sbom", r.materials}, {"checksums", r.sums},
	} {
		begun := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("release: %s (%.0f s)\n", step.name, time.Since(begun).Seconds())
	}
	return nil
}
