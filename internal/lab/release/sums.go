package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pawl-os/pawl/image/pack"
)

// component is a part of a program, as CycloneDX has it.
type component struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Purl    string `json:"purl,omitempty"`
}

// materials says of which modules each program is made, as its build recorded it, and what the base image is
// made of. Specification: CycloneDX 1.5.
func (r *release) materials(context.Context) error {
	for _, arch := range architectures {
		for _, p := range programs {
			info, err := buildinfo.ReadFile(filepath.Join(r.to, p.name+"-linux-"+arch))
			if err != nil {
				return err
			}
			parts := []component{{Type: "library", Name: "std", Version: info.GoVersion, Purl: "pkg:golang/std@" +
				strings.TrimPrefix(info.GoVersion, "go")}}
			for _, d := range info.Deps {
				if d.Replace != nil {
					d = d.Replace
				}
				parts = append(parts, component{Type: "library", Name: d.Path, Version: d.Version,
					Purl: "pkg:golang/" + d.Path + "@" + d.Version})
			}
			program := component{Type: "application", Name: p.name, Version: info.Main.Version,
				Purl: "pkg:golang/" + info.Main.Path + "@" + info.Main.Version}
			if err := r.bom(p.name+"-linux-"+arch, program, parts); err != nil {
				return err
			}
			if p.name != forNodes {
				continue
			}
			image := component{Type: "container", Name: baseImage, Version: r.images[arch],
				Purl: "pkg:oci/" + baseImage + "@" + strings.Replace(r.images[arch], ":", "%3A", 1) + "?arch=" + arch}
			if err := r.bom(baseImage+"-linux-"+arch, image, append([]component{program}, parts...)); err != nil {
				return err
			}
		}
	}
	return nil
}

// bom gives out of which parts something is made.
func (r *release) bom(name string, of component, parts []component) error {
	data, err := json.MarshalIndent(map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"metadata":   map[string]any{"timestamp": r.time.Format(time.RFC3339), "component": of},
		"components": parts,
	}, "", "  ")
	if err != nil {
		return err
	}
	return r.give(name+".cdx.json", append(data, '\n'), 0o644)
}

// sums writes the checksums of all files, and signs them: `openssl dgst -sha256 -verify KEY.pub -signature` takes the
// signature once it is out of base64, as `cosign verify-blob --key` takes it as it is.
func (r *release) sums(context.Context) error {
	slices.Sort(r.files)
	var sums strings.Builder
	for _, name := range r.files {
		data, err := os.ReadFile(filepath.Join(r.to, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), name)
	}
	if err := r.give("SHA256SUMS", []byte(sums.String()), 0o644); err != nil {
		return err
	}
	if r.key == "" {
		fmt.Println("release: checksums and base image are not signed (-sign-key FILE)")
		return nil
	}
	var password *string
	if text, set := os.LookupEnv("COSIGN_PASSWORD"); set {
		password = &text
	}
	key, err := pack.ReadKey(r.key, password)
	if err != nil {
		return err
	}
	signature, err := sign(key, []byte(sums.String()))
	if err != nil {
		return err
	}
	return r.give("SHA256SUMS.sig", []byte(base64.StdEncoding.EncodeToString(signature)+"\n"), 0o644)
}

func sign(key crypto.Signer, data []byte) ([]byte, error) {
	if k, ok := key.(ed25519.PrivateKey); ok {
		return ed25519.Sign(k, data), nil
	}
	digest := sha256.Sum256(data)
	return key.Sign(rand.Reader, digest[:], crypto.SHA256)
}
