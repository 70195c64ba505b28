package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/image/pack"
)

// indexCommand joins images that were packed, one an architecture.
func indexCommand() *cobra.Command {
	var r recipe
	c := &cobra.Command{
		Use:   "index --output DIR TAG...",
		Short: "Join images of one version, one an architecture, under one tag",
		Long: "Join images that were packed into the same OCI layout, named by their tags, so that each machine gets " +
			"the one of its\n" +
			"architecture. The same images in the same order give the same digest.",
		Args: func(_ *cobra.Command, tags []string) error {
			if len(tags) == 0 {
				return usageError{errors.New("name the tags of the images to join")}
			}
			return nil
		},
	}
	c.Flags().StringVar(&r.output, "output", "", "OCI layout that holds the images")
	c.Flags().StringVar(&r.tag, "tag", "", "tag in the layout (default: the version)")
	c.Flags().StringVar(&r.signKey, "sign-key", "", "sign the whole, as for pack")
	c.Flags().StringVar(&r.push, "push", "", "also push it, as HOST/REPOSITORY:TAG")
	_ = c.MarkFlagRequired("output") // an error only if there were no such flag
	c.RunE = func(c *cobra.Command, tags []string) error {
		reference, err := r.join(c.Context(), tags)
		if err == nil {
			out(c).Printf("%s\n", reference)
		}
		return err
	}
	return c
}

func (r recipe) join(ctx context.Context, tags []string) (reference string, err error) {
	if err := r.checkTarget(); err != nil {
		return "", usageError{err}
	}
	if _, err := os.Stat(filepath.Join(r.output, "oci-layout")); err != nil {
		return "", usageError{fmt.Errorf("--output: %w; pack the images into it first", err)}
	}
	layout, err := pack.Create(r.output)
	if err != nil {
		return "", err
	}
	var images []pack.Built
	for _, tag := range tags {
		b, err := layout.Find(tag)
		if err != nil {
			return "", usageError{err}
		}
		images = append(images, b)
	}
	built, err := layout.Index(images...)
	if err != nil {
		return "", usageError{err}
	}
	return r.publish(ctx, layout, built)
}
