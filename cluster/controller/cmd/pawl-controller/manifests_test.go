package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// manifest has the API server take what a manifest says, and change nothing.
func (p *place) manifest(input string, args ...string) error {
	_, err := p.k.Kubectl(input, append([]string{"apply", "--dry-run=server", "--validate=strict"}, args...)...)
	return err
}

// all: the API server takes all that there are, and the images in them are those that the documentation makes.
func (p *place) all(t *testing.T) {
	out, err := p.k.Kubectl("", "apply", "-f", filepath.Join("testdata", "plan.yaml"))
	require.NoError(t, err, out)
	_, err = p.k.Kubectl("", "wait", "--for=condition=Established", "crd/plans.upgrade.cattle.io", "--timeout=30s")
	require.NoError(t, err)
	_, err = p.k.Kubectl("", "create", "namespace", "system-upgrade")
	require.NoError(t, err)
	require.NoError(t, p.manifest("", "-k", p.manifests))
	pool, err := os.ReadFile(filepath.Join("..", "..", "..", "manifests", "node.yaml"))
	require.NoError(t, err)
	_, err = p.k.Kubectl("", "create", "namespace", "pawl") // a server that changes nothing makes none for what is in it
	require.NoError(t, err)
	require.NoError(t, p.manifest(string(pool), "-f", "-"))
	examples, err := filepath.Glob(filepath.Join(p.manifests, "examples", "*.yaml"))
	require.NoError(t, err)
	require.Len(t, examples, 2)
	for _, file := range examples {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, p.manifest(string(text), "-f", "-"), file)
		require.ErrorContains(t, p.manifest(strings.Replace(string(text), "\nspec:\n", "\nspec:\n  wish: 1\n", 1), "-f", "-"),
			`unknown field "spec.wish"`)
	}

	docs, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "how-to", "kubernetes-fleet.md"))
	require.NoError(t, err)
	made := regexp.MustCompile(`for p in (.*); do`).FindStringSubmatch(string(docs))
	require.NotNil(t, made)
	rendered, err := p.k.Kubectl("", "kustomize", p.manifests)
	require.NoError(t, err)
	plan, err := os.ReadFile(filepath.Join(p.manifests, "examples", "system-upgrade-controller.yaml"))
	require.NoError(t, err)
	named := map[string]bool{}
	images := regexp.MustCompile(`image: registry.example.com/(\S+)`)
	for _, m := range images.FindAllStringSubmatch(rendered+string(plan), -1) {
		named[m[1]] = true
	}
	for _, name := range strings.Fields(made[1]) {
		require.True(t, named[name], name)
		delete(named, name)
	}
	require.Empty(t, named, "no command in the documentation makes these")
}
