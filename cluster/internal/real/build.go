// Package real builds and starts the servers that the tests of this module are about: etcd and Kubernetes, each from a
// module of its own, kept in a cache outside the repository ($PAWL_CACHE, else $XDG_CACHE_HOME/pawl, else
// ~/.cache/pawl), by what they are made of. Start with Members and Kubernetes.
package real

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Version is that of etcd, and Older one that a linker made of the same code: a member that takes itself for a minor
// version less.
const (
	Version = ""
	Older   = "3.6.99"
)

// Etcd is the path of etcd's server. It is built if it is not in the cache; cold, that takes minutes.
func Etcd(ctx context.Context, version string) (string, error) {
	flags := "-s -w"
	if version != "" {
		flags += " -X go.etcd.io/etcd/api/v3/version.Version=" + version
	}
	return build(ctx, "etcd", flags)
}

// KubernetesVersion is what the servers of Kubernetes say of themselves.
const KubernetesVersion = "v1.36.3"

// KubernetesBinary is the path of a program that is kube-apiserver, kube-controller-manager or kubectl, by its first
// argument. It is built if it is not in the cache; cold, that takes many minutes.
func KubernetesBinary(ctx context.Context) (string, error) {
	const at = " -X k8s.io/component-base/version."
	return build(ctx, "kubernetes", "-s -w"+at+"gitVersion="+KubernetesVersion+at+"gitMajor=1"+at+"gitMinor=36")
}

// build builds the module of its own in a directory beside this file.
func build(ctx context.Context, name, flags string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	if !filepath.IsAbs(file) { // -trimpath: tests run in their own directory, inside of this module
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		file = filepath.Join(root, "internal", "real", "build.go")
	}
	source := filepath.Join(filepath.Dir(file), name)
	key := sha256.New()
	fmt.Fprintln(key, runtime.Version(), runtime.GOARCH, flags)
	for _, f := range []string{"go.mod", "go.sum", "main.go"} {
		content, err := os.ReadFile(filepath.Join(source, f))
		if err != nil {
			return "", fmt.Errorf("build %s: %w", name, err)
		}
		key.Write(content)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, fmt.Sprintf("%s-%x", name, key.Sum(nil)[:8]))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	work := fmt.Sprintf("%s.%d", path, os.Getpid()) // another may build the same
	c := exec.CommandContext(ctx, "go", "build", "-C", source, "-trimpath", "-ldflags", flags, "-o", work, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", name, err, out)
	}
	return path, os.Rename(work, path)
}

func cacheDir() (string, error) {
	dir := os.Getenv("PAWL_CACHE")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "pawl")
	}
	dir = filepath.Join(dir, "cluster")
	return dir, os.MkdirAll(dir, 0o755)
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "internal", "real", "build.go")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("build a server for tests: run this inside of cluster/")
		}
		dir = filepath.Dir(dir)
	}
}
