package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"unicode/utf16"
)

// system is what this boot knows of itself.
type system struct {
	version string // VERSION_ID of /etc/os-release
	boot    string // this boot's id
	test    string // kernel argument pawl-os.test: how this version is broken, empty for a good one
}

func newSystem() (*system, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil, err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	return &system{
		version: value(strings.Split(string(release), "\n"), "VERSION_ID"),
		boot:    string(bytes.TrimSpace(id)),
		test:    value(strings.Fields(string(line)), "pawl-os.test"),
	}, nil
}

// value finds key=value among words; quotes around the value are dropped.
func value(words []string, key string) string {
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// start reports this boot.
func (s *system) start(network error) error {
	entry := loaderVariable("LoaderEntrySelected")
	slot := strings.ToUpper(strings.TrimSuffix(strings.TrimPrefix(entry, "pawl-"), ".conf"))
	report("ready", "version", s.version, "slot", slot, "digest", "unknown", "boot", s.boot)
	return nil
}

// loaderVariable is a string that systemd-boot left for this boot, empty if there is none.
func loaderVariable(name string) string {
	data, err := os.ReadFile("/sys/firmware/efi/efivars/" + name + "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
	if err != nil || len(data) < 4 {
		return ""
	}
	var units []uint16
	for text := data[4:]; len(text) >= 2; text = text[2:] {
		units = append(units, binary.LittleEndian.Uint16(text))
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}
