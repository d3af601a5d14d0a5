package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A segment is records one after the other, nothing before and nothing
// between. Its name tells its place in the journal, the number of its first
// record and the salt of its header checksums.
type segment struct {
	index uint64
	first uint64
	salt  uint32
	size  int64
}

const nameFormat = "%010d-%016x-%08x.journal"

func (s segment) name() string { return fmt.Sprintf(nameFormat, s.index, s.first, s.salt) }

func parseName(name string) (segment, bool) {
	var s segment
	if _, err := fmt.Sscanf(name, nameFormat, &s.index, &s.first, &s.salt); err != nil || s.name() != name {
		return segment{}, false
	}
	return s, true
}

// Record header, little endian, 48 bytes:
//
//	 0  4  magic, its last byte the version of the format
//	 4  4  CRC32C of bytes 8–47, begun with the segment's salt
//	 8  8  sequence number
//	16  4  length of the payload
//	20  4  CRC32C of the payload
//	24 24  tag
const headerSize = 24 + len(Tag{})

var magic = [4]byte{0xa7, 'G', 'J', 1}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// putHeader fills the first headerSize bytes of frame, whose rest is the
// payload of checksum sum.
func putHeader(frame []byte, salt uint32, seq uint64, sum uint32, tag *Tag) {
	copy(frame, magic[:])
	binary.LittleEndian.PutUint64(frame[8:], seq)
	binary.LittleEndian.PutUint32(frame[16:], uint32(len(frame)-headerSize))
	binary.LittleEndian.PutUint32(frame[20:], sum)
	copy(frame[24:headerSize], tag[:])
	binary.LittleEndian.PutUint32(frame[4:], crc32.Update(salt, castagnoli, frame[8:headerSize]))
}

// record is a record as it was read. Its payload aliases the segment's bytes.
type record struct {
	seq     uint64
	tag     Tag
	payload []byte
}

// scanner walks over the bytes of a segment. It trusts nothing in them.
type scanner struct {
	data []byte
	salt uint32
	next uint64 // the number that the next record should have
	from uint64 // records below are passed over, damaged or not
	// limit: numbers from it on are void, because a newer segment begins
	// there. 0: no limit.
	limit uint64

	record  record
	damaged uint64 // records from number from on that could not be read
	end     int64  // where the last record ends, readable or not
	torn    bool   // bytes other than zero stand behind end

	off int
}

// header decodes the header at off; ok is false when it is not one.
func (s *scanner) header(off int) (seq uint64, size int, ok bool) {
	if len(s.data)-off < headerSize {
		return 0, 0, false
	}
	h := s.data[off : off+headerSize]
	if !bytes.Equal(h[:4], magic[:]) ||
		binary.LittleEndian.Uint32(h[4:]) != crc32.Update(s.salt, castagnoli, h[8:]) {
		return 0, 0, false
	}
	seq = binary.LittleEndian.Uint64(h[8:])
	return seq, int(binary.LittleEndian.Uint32(h[16:])), seq >= s.next
}

// scan goes to the next readable record from number from on. At the end it returns false.
func (s *scanner) scan() bool {
	for s.off < len(s.data) {
		seq, size, ok := s.header(s.off)
		if !ok {
			if !s.resync() {
				break
			}
			continue
		}
		if s.limit != 0 && seq >= s.limit {
			s.end = int64(len(s.data)) // void from here on, but nothing is torn
			s.off = len(s.data)
			return false
		}
		stop := s.off + headerSize + size
		if stop > len(s.data) {
			break // its end is missing
		}
		h := s.data[s.off : s.off+headerSize]
		payload := s.data[s.off+headerSize : stop : stop]
		s.lost(seq)
		s.next = seq + 1
		s.off, s.end = stop, int64(stop)
		if seq < s.from {
			continue
		}
		if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(h[20:]) {
			s.damaged++
			continue
		}
		s.record = record{seq: seq, payload: payload}
		copy(s.record.tag[:], h[24:])
		return true
	}
	s.torn = len(bytes.TrimLeft(s.data[s.end:], "\x00")) > 0
	s.off = len(s.data)
	return false
}

// lost counts the wanted records between the last one and number seq.
func (s *scanner) lost(seq uint64) {
	if first := max(s.next, s.from); first < seq {
		s.damaged += seq - first
	}
}

// resync moves to the next good header behind a bad one.
func (s *scanner) resync() bool {
	for off := s.off + 1; ; off++ {
		i := bytes.Index(s.data[off:], magic[:])
		if i < 0 {
			return false
		}
		off += i
		if _, _, ok := s.header(off); ok {
			s.off = off
			return true
		}
	}
}
