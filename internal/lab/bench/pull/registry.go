package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// serve is the registry process: an OCI layout over HTTP, each blob a file. It prints its address, then serves for
// ever.
func serve(dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		switch {
		case r.URL.Path == "/v2/":
		case strings.Contains(r.URL.Path, "/manifests/"):
			d, err := find(dir, name)
			if err != nil {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", string(d.MediaType))
			w.Header().Set("Docker-Content-Digest", d.Digest.String())
			http.ServeFile(w, r, blobFile(dir, d.Digest.Hex))
		default:
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeFile(w, r, blobFile(dir, strings.TrimPrefix(name, "sha256:")))
		}
	}))
}

func blobFile(dir, hex string) string {
	return filepath.Join(dir, "blobs", "sha256", filepath.Base(hex))
}

// find is the entry of index.json with a tag or a digest.
func find(dir, name string) (v1.Descriptor, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return v1.Descriptor{}, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return v1.Descriptor{}, err
	}
	for _, d := range index.Manifests {
		if d.Digest.String() == name || d.Annotations["org.opencontainers.image.ref.name"] == name {
			return d, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("no %s", name)
}
