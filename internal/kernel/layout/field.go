package layout

import (
	"errors"
	"fmt"
)

// Source says how an offset is known.
type Source int

const (
	// FromDWARF is the binary's own word.
	FromDWARF Source = iota + 1
	// FromTypes is the binary's own word, too: its descriptors of types.
	FromTypes
	// FromTable was measured with this version, or with one before and one after it that agree.
	FromTable
	// Derived is that of the newest version measured; this one is newer.
	Derived
)

func (s Source) String() string {
	return [...]string{"", "DWARF", "types", "table", "derived"}[s]
}

// Field returns the offset of a field in a struct of the program, as in
// "net/http.Request", "Method". It is false where [Binary.Offset] answers an error.
func (b *Binary) Field(typ, field string) (offset uint64, ok bool) {
	off, _, err := b.Offset(typ, field)
	return off, err == nil
}

// Offset is Field with where the answer comes from, or an *Unknown that says why
// there is none.
func (b *Binary) Offset(typ, field string) (uint64, Source, error) {
	s, src, err := b.structOf(typ)
	if s != nil {
		off, ok := s[field]
		if !ok {
			return 0, 0, &Unknown{What: fmt.Sprintf("field %s of %s", field, typ), In: b.release(typ), Why: "the program's own struct has no such field"}
		}
		return off, src, nil
	}
	off, src, terr := b.tabled(typ, field)
	if terr != nil && err != nil {
		return 0, 0, fmt.Errorf("%w (debugging data: %w)", terr, err)
	}
	return off, src, terr
}

// structOf asks the binary itself: its DWARF, else its descriptors. The first call reads either
// once for all types of the table: probes need many of these.
func (b *Binary) structOf(typ string) (structType, Source, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	s, ok := b.types[typ]
	if !ok {
		want := map[string]bool{typ: true}
		if !b.scanned {
			for name := range tabledTypes() {
				want[name] = true
			}
			b.scanned = true
		}
		var found map[string]structType
		found, err = dwarfStructs(b.elf, func(name []byte) bool { return want[string(name)] }, len(want))
		for name := range want {
			b.types[name] = found[name] // nil: not there
		}
		s = b.types[typ]
	}
	if s != nil {
		return s, FromDWARF, nil
	}
	d, derr := b.describe(typ)
	if d.fields != nil {
		return d.fields, FromTypes, nil
	}
	return nil, 0, errors.Join(err, derr)
}
