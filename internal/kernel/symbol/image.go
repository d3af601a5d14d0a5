package symbol

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// ModuleData reads the first words of the program's runtime.moduledata: addresses
// of the file's own space. [ErrNoTable] where the file has none.
func ModuleData(r io.ReaderAt, f *elf.File) ([]uint64, error) {
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, ErrNoTable
	}
	left := newSearch()
	t, addr, err := locateGoTable(r, f, left)
	if err != nil {
		return nil, err
	}
	words, err := findModule(r, f, t, addr, left)
	if err == nil && words == nil {
		err = ErrNoTable
	}
	return words, err
}

// Pointers fills in what stands at the addresses that are the map's keys, as the program
// finds it before its first instruction, but without the address that position-independent
// code is loaded at. Places outside the file's bytes are removed.
func Pointers(r io.ReaderAt, f *elf.File, places map[uint64]uint64) error {
	var b [8]byte
	for place := range places {
		off, ok := fileOffset(f, place)
		if !ok {
			delete(places, place)
			continue
		}
		if _, err := r.ReadAt(b[:], off); err != nil {
			return fmt.Errorf("read pointer at %#x: %w", place, err)
		}
		places[place] = binary.LittleEndian.Uint64(b[:])
	}
	relocs, err := relocations(f)
	if err != nil || relocs == nil {
		return err
	}
	return scanRelocs(r, relocs, func(place, value uint64) {
		if _, ok := places[place]; ok {
			places[place] = value
		}
	})
}
