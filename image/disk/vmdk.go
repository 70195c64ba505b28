package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
)

// The stream-optimised VMDK, as VMware's "Virtual Disk Format 5.0" has it. All numbers are little-endian and count
// sectors of 512 bytes, if not said otherwise.
//
// A file is: header; description; for each grain of 64 KiB that is not zero a marker (sector, bytes) and its bytes by
// zlib; tables of 512 grains, and the directory of tables, each behind a marker; the header again, with the place of
// the directory; a marker of the end.
const (
	vmdkMagic  = "KDMV"
	vmdkGrain  = int64(64 << 10)
	vmdkTable  = 512 // grains
	vmdkHead   = 128 // sectors before the first grain
	vmdkDesc   = 20  // sectors of the description
	vmdkSector = int64(512)
	vmdkAtEnd  = ^uint64(0)
)

// Kinds of markers.
const (
	vmdkMarkTable     = 1
	vmdkMarkDirectory = 2
	vmdkMarkFooter    = 3
)

func writeVMDK(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	b, err := find(ctx, src, vmdkGrain)
	if err != nil {
		return err
	}
	if _, err := s.Write(vmdkHeader(src.Size(), vmdkAtEnd)); err != nil {
		return err
	}
	if _, err := s.Write([]byte(description(src.Size(), o))); err != nil {
		return err
	}
	if err := s.to(vmdkHead * vmdkSector); err != nil {
		return err
	}
	places := make([]byte, (b.n+vmdkTable-1)/vmdkTable*vmdkTable*4)
	if err := writeGrains(ctx, s, src, b, places, o); err != nil {
		return err
	}
	return endVMDK(s, src.Size(), places)
}

// writeGrains writes the grains that are not zero, and their places.
func writeGrains(ctx context.Context, s *stream, src Source, b *blocks, places []byte, o WriteOptions) error {
	l := newLine(int(vmdkGrain), func() func(*job) error {
		z, err := zlib.NewWriterLevel(io.Discard, 5)
		return func(j *job) error {
			if err != nil {
				return err
			}
			out := sink{binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(j.out,
				uint64(j.at/vmdkSector)), 0)}
			z.Reset(&out)
			if _, err := z.Write(j.in); err != nil {
				return err
			}
			err := z.Close()
			binary.LittleEndian.PutUint32(out.b[8:], uint32(len(out.b)-12))
			j.out = out.b
			return err
		}
	}, func(j *job) error {
		binary.LittleEndian.PutUint32(places[j.at/vmdkGrain*4:], uint32(s.at/vmdkSector))
		if _, err := s.Write(j.out); err != nil {
			return err
		}
		o.progress(j.at + vmdkGrain)
		return s.align(vmdkSector)
	})
	err := b.runs(func(off, end int64) error {
		for ; off < end && !l.failed.Load(); off += vmdkGrain {
			j := l.next()
			j.at = off
			if err := readAll(ctx, src, j.in, off); err != nil {
				return err
			}
			l.put(j)
		}
		return nil
	})
	return errors.Join(err, l.close())
}

// endVMDK writes tables, directory and footer.
func endVMDK(s *stream, size int64, places []byte) error {
	const bytes = vmdkTable * 4
	var directory []byte
	for ; len(places) > 0; places = places[bytes:] {
		var at uint32
		if !isZero(places[:bytes]) {
			if err := s.mark(vmdkMarkTable, bytes); err != nil {
				return err
			}
			at = uint32(s.at / vmdkSector)
			if _, err := s.Write(places[:bytes]); err != nil {
				return err
			}
		}
		directory = binary.LittleEndian.AppendUint32(directory, at)
	}
	if err := s.mark(vmdkMarkDirectory, int64(len(directory))); err != nil {
		return err
	}
	at := uint64(s.at / vmdkSector)
	if _, err := s.Write(directory); err != nil {
		return err
	}
	if err := s.align(vmdkSector); err != nil {
		return err
	}
	if err := s.mark(vmdkMarkFooter, vmdkSector); err != nil {
		return err
	}
	if _, err := s.Write(vmdkHeader(size, at)); err != nil {
		return err
	}
	return s.zeros(vmdkSector) // the end's marker
}

// mark writes a marker of so many bytes that follow.
func (s *stream) mark(kind uint32, bytes int64) error {
	m := make([]byte, vmdkSector)
	binary.LittleEndian.PutUint64(m, uint64((bytes+vmdkSector-1)/vmdkSector))
	binary.LittleEndian.PutUint32(m[12:], kind)
	_, err := s.Write(m)
	return err
}

func vmdkHeader(size int64, directory uint64) []byte {
	h := make([]byte, vmdkSector)
	le := binary.LittleEndian
	copy(h, vmdkMagic)
	le.PutUint32(h[4:], 3)             // version
	le.PutUint32(h[8:], 1|1<<16|1<<17) // line ends can be checked; compressed; markers
	le.PutUint64(h[12:], uint64(size/vmdkSector))
	le.PutUint64(h[20:], uint64(vmdkGrain/vmdkSector))
	le.PutUint64(h[28:], 1) // description
	le.PutUint64(h[36:], vmdkDesc)
	le.PutUint32(h[44:], vmdkTable)
	le.PutUint64(h[56:], directory)
	le.PutUint64(h[64:], vmdkHead)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], 1) // deflate
	return h
}

// description is what a VMDK says of itself in words.
func description(size int64, o WriteOptions) string {
	cylinders := min(size/vmdkSector/63/255, 65535)
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RDONLY %d SPARSE "disk.vmdk"

# The Disk Data Base
#DDB
ddb.virtualHWVersion = "13"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
`, o.ID.ID()&^1|2, size/vmdkSector, cylinders)
}
