package oom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// recordSize is that of struct record of oom.bpf.c, little-endian, without holes.
const recordSize = 160

var errRecord = errors.New("not a record of this version")

// record is what the kernel says.
type record struct {
	time, start, cgroup, memcg uint64
	limitCgroup, limit, usage  uint64 // pages
	file, anon, swap, shmem    uint64 // pages
	pageTables, virtual        uint64 // bytes, pages
	pid, parent, uid, by       uint32
	scoreAdj                   int32
	swapLimit                  bool
	comm, byComm               string
}

func decode(b []byte) (record, error) {
	if len(b) < recordSize {
		return record{}, fmt.Errorf("%w: %d bytes", errRecord, len(b))
	}
	u64 := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	u32 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[104+4*i:]) }
	text := func(at int) string {
		s, _, _ := bytes.Cut(b[at:at+16], []byte{0})
		return strings.ToValidUTF8(string(s), "\uFFFD")
	}
	r := record{
		time: u64(0), start: u64(1), cgroup: u64(2), memcg: u64(3), limitCgroup: u64(4), limit: u64(5), usage: u64(6),
		file: u64(7), anon: u64(8), swap: u64(9), shmem: u64(10), pageTables: u64(11), virtual: u64(12),
		pid: u32(0), parent: u32(1), uid: u32(2), by: u32(3), scoreAdj: int32(u32(4)), swapLimit: u32(5) != 0,
		comm: text(128), byComm: text(144),
	}
	if r.pid == 0 {
		return record{}, fmt.Errorf("%w: no process", errRecord)
	}
	return r, nil
}
