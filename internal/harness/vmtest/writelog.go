package vmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Write is one operation of a guest on a disk.
type Write struct {
	Offset int64  // bytes
	Data   []byte // empty for a bare flush
	Flush  bool   // everything before it is durable once it is done
}

// kept are the arguments for where disk i is kept, and for what records its writes.
func (d Disk) kept(i int) []string {
	if d.WriteLog == "" {
		drive := fmt.Sprintf("if=none,id=disk%d,format=raw,cache=writeback,file=%s", i, escape(d.Path))
		if d.ReadOnly {
			drive += ",readonly=on"
		}
		return []string{"-drive", drive}
	}
	return []string{
		"-blockdev", fmt.Sprintf("driver=file,node-name=data%d,filename=%s", i, escape(d.Path)),
		"-blockdev", fmt.Sprintf("driver=file,node-name=log%d,filename=%s", i, escape(d.WriteLog)),
		"-blockdev", fmt.Sprintf("driver=blklogwrites,node-name=disk%d,file=data%d,log=log%d,log-sector-size=%d", i, i,
			i, logSector),
	}
}

// logSector is the unit of the log, in bytes.
const logSector = 512

// ReadWriteLog reads what a disk with a WriteLog recorded, up to the last flush of the guest. Each operation is passed
// to each, whose error ends it. The format is dm-log-writes's, as QEMU's driver blklogwrites writes it: a sector with
// magic, version, number of entries and sector size; then for each entry a sector with its place, length, flags, and
// its data.
func ReadWriteLog(path string, each func(Write) error) error {
	const (
		magic   = 0x6a736677736872
		flush   = 1 << 0
		fua     = 1 << 1
		discard = 1 << 2
	)
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read write log: %w", err)
	}
	defer f.Close()
	le := binary.LittleEndian
	head := make([]byte, logSector)
	if _, err := io.ReadFull(f, head); err != nil {
		return fmt.Errorf("read write log: %w", err)
	}
	if le.Uint64(head) != magic || le.Uint32(head[24:]) != logSector {
		return errors.New("read write log: not a log with sectors of 512 bytes")
	}
	for range le.Uint64(head[16:]) {
		if _, err := io.ReadFull(f, head); err != nil {
			return fmt.Errorf("read write log: %w", err)
		}
		sectors, flags := le.Uint64(head[8:]), le.Uint64(head[16:])
		w := Write{Offset: int64(le.Uint64(head)) * logSector, Flush: flags&(flush|fua) != 0}
		switch {
		case flags&discard != 0:
			return errors.New("read write log: a discard, whose outcome is not defined")
		case sectors > 1<<20:
			return fmt.Errorf("read write log: an entry of %d sectors", sectors)
		}
		w.Data = make([]byte, sectors*logSector)
		if _, err := io.ReadFull(f, w.Data); err != nil {
			return fmt.Errorf("read write log: %w", err)
		}
		if err := each(w); err != nil {
			return err
		}
	}
	return nil
}
