package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/image/pack"
)

// efiSigner signs an asset for Secure Boot.
type efiSigner func(context.Context, pack.Asset) (pack.Asset, error)

// efiSigner is who signs: a key, a program, or nobody (nil).
func (r recipe) efiSigner() (efiSigner, error) {
	switch {
	case r.signEFIWith != "":
		program, err := exec.LookPath(r.signEFIWith)
		if err != nil {
			return nil, fmt.Errorf("--sign-efi-with: %w", err)
		}
		return func(ctx context.Context, a pack.Asset) (pack.Asset, error) { return r.signedBy(ctx, program, a) }, nil
	case r.signEFI != nil:
		signer, err := pack.ReadEFISigner(r.signEFI[0], r.signEFI[1])
		if err != nil {
			return nil, fmt.Errorf("--sign-efi: %w", err)
		}
		return func(_ context.Context, a pack.Asset) (pack.Asset, error) {
			signed, err := signer.Sign(a)
			if err != nil {
				return a, usageError{fmt.Errorf("--sign-efi: %w", err)}
			}
			return signed, nil
		}, nil
	}
	return nil, nil
}

// signAll signs what firmware checks, if that is asked for; a shim only where nobody has signed it.
func (r recipe) signAll(ctx context.Context, assets []pack.Asset) error {
	sign, err := r.efiSigner()
	if err != nil {
		return usageError{err}
	}
	if sign == nil {
		return nil
	}
	for i, a := range assets {
		switch a.Name {
		case pack.ShimAsset:
			has, err := pack.EFISigner{}.Signed(a)
			if err != nil {
				return usageError{fmt.Errorf("--shim: %w", err)}
			}
			if has { // by whom firmware trusts
				continue
			}
		case pack.UKIAsset, pack.KernelAsset, pack.LoaderAsset, pack.GRUBEFIAsset:
		default:
			continue
		}
		if assets[i], err = sign(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// signedBy has a program sign an asset: it is given the path of a file, and one for what it makes of it. What it makes
// is the same program with signatures more, or an error. It may ask a person, such as for the PIN of a token.
func (r recipe) signedBy(ctx context.Context, program string, a pack.Asset) (signed pack.Asset, err error) {
	dir, err := os.MkdirTemp("", "pawl-sign-")
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var bare bytes.Buffer
	if err := a.Write(&bare); err != nil {
		return a, err
	}
	name := filepath.Base(a.Name)
	from, to := filepath.Join(dir, name), filepath.Join(dir, "signed-"+name)
	if err := os.WriteFile(from, bare.Bytes(), 0o600); err != nil {
		return a, err
	}
	c := exec.CommandContext(ctx, program, from, to)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, r.said, r.said
	if err := c.Run(); err != nil {
		return a, fmt.Errorf("sign %s: %s: %w", a.Name, program, err)
	}
	made, err := os.ReadFile(to)
	if errors.Is(err, os.ErrNotExist) {
		return a, fmt.Errorf("sign %s: %s ended well and made no file: it has to write the signed program to its second "+
			"argument", a.Name, program)
	}
	if err != nil {
		return a, err
	}
	if err := authenticode.Added(bare.Bytes(), made); err != nil {
		return a, fmt.Errorf("sign %s: what %s made cannot be used: %w", a.Name, program, err)
	}
	return pack.Data(a.Name, made), nil
}
