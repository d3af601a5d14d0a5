package layout

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// offsetsText is the table: what the structs of releases of Go and of libraries look like, as
// measured by gen. A paragraph is one module ("std" is Go):
//
//	module PATH VERSION VERSION …      measured, oldest first
//	type NAME                          a struct of it
//	func NAME                          a function; its lines give the registers of arguments and results
//	FIELD FROM-TO:OFFSET …             the same in all that were measured from FROM to TO, indexes of VERSIONs
//
//go:embed offsets.txt
var offsetsText string

//go:generate go run ./gen

// table is offsetsText, read once.
type table struct {
	modules map[string]*moduleTable
	types   map[string]*typeTable
	funcs   map[string]*typeTable
}

type moduleTable struct {
	path     string
	measured []version
}

type typeTable struct {
	module *moduleTable
	fields map[string][]span
}

// span is where a field is in the measured releases from..to.
type span struct {
	from, to int
	offset   uint64
}

var readTable = sync.OnceValue(func() *table {
	t, err := parseTable(offsetsText)
	if err != nil {
		panic("BUG: embedded table of offsets: " + err.Error())
	}
	return t
})

func tabledTypes() map[string]*typeTable { return readTable().types }

func parseTable(text string) (*table, error) {
	t := &table{modules: map[string]*moduleTable{}, types: map[string]*typeTable{}, funcs: map[string]*typeTable{}}
	var mod *moduleTable
	var typ *typeTable
	for n, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		bad := func() error { return fmt.Errorf("line %d: unexpected %q", n+1, line) }
		switch {
		case len(words) == 0, words[0] == "#":
		case len(words) < 2:
			return nil, bad()
		case words[0] == "module":
			mod, typ = &moduleTable{path: words[1]}, nil
			for _, w := range words[2:] {
				v, ok := parseVersion(w)
				if !ok {
					return nil, bad()
				}
				mod.measured = append(mod.measured, v)
			}
			t.modules[mod.path] = mod
		case words[0] == "type" && mod != nil && len(words) == 2:
			typ = &typeTable{module: mod, fields: map[string][]span{}}
			t.types[words[1]] = typ
		case words[0] == "func" && mod != nil && len(words) == 2:
			typ = &typeTable{module: mod, fields: map[string][]span{}}
			t.funcs[words[1]] = typ
		case typ != nil:
			for _, w := range words[1:] {
				versions, offset, ok1 := strings.Cut(w, ":")
				from, to, ok2 := strings.Cut(versions, "-")
				var s span
				var err1, err2, err3 error
				s.from, err1 = strconv.Atoi(from)
				s.to, err2 = strconv.Atoi(to)
				s.offset, err3 = strconv.ParseUint(offset, 10, 32)
				if !ok1 || !ok2 || err1 != nil || err2 != nil || err3 != nil || s.from > s.to || s.to >= len(mod.measured) {
					return nil, bad()
				}
				typ.fields[words[0]] = append(typ.fields[words[0]], s)
			}
		default:
			return nil, bad()
		}
	}
	return t, nil
}

// release names the module that a type is of, with the version that the binary has.
func (b *Binary) release(typ string) string {
	if t := tabledTypes()[typ]; t != nil && t.module.path != "std" {
		return strings.TrimSpace(t.module.path + " " + b.Modules[t.module.path])
	}
	if b.GoVersion != "" {
		return b.GoVersion
	}
	return "a program that does not say its version of Go"
}

const nextWithDWARF = "build the program without -ldflags=-w, so that it describes itself"

// tabled looks a field up in the table, for the version that the binary was built with.
func (b *Binary) tabled(typ, field string) (uint64, Source, error) {
	unknown := func(why, next string) (uint64, Source, error) {
		return 0, 0, &Unknown{What: fmt.Sprintf("field %s of %s", field, typ), In: b.release(typ), Why: why, Next: next}
	}
	t := tabledTypes()[typ]
	if t == nil {
		return unknown("the program has no debugging data that describes it, and the table does not have it", nextWithDWARF)
	}
	v, ok := b.versionOf(t.module)
	if !ok {
		return unknown("the program does not say of which release it is", "keep build information, or "+nextWithDWARF)
	}
	return t.find(field, v, unknown)
}

func (b *Binary) versionOf(m *moduleTable) (version, bool) {
	if m.path == "std" {
		return b.goVersion, b.goVersion != (version{})
	}
	return parseVersion(b.Modules[m.path])
}

// Argument returns the register of an argument or result of a function: an index of the
// registers for integers and pointers, in the order of ABIInternal (amd64: AX, BX, CX, DI, SI,
// R8, R9, R10, R11; arm64: R0 to R15). Parts of it follow in the next: a string has two, a
// slice three, an interface two. Names are those of the source; a receiver is an argument,
// a result without a name is "~r0". Signatures are known from the table alone.
func (b *Binary) Argument(function, name string) (register int, ok bool) {
	t := readTable().funcs[function]
	if t == nil {
		return 0, false
	}
	v, ok := b.versionOf(t.module)
	if !ok {
		return 0, false
	}
	r, _, err := t.find(name, v, func(why, next string) (uint64, Source, error) { return 0, 0, &Unknown{Why: why} })
	return int(r), err == nil
}

func (t *typeTable) find(field string, v version, unknown func(why, next string) (uint64, Source, error)) (uint64, Source, error) {
	const update = "update Guanlan, or " + nextWithDWARF
	measured := t.module.measured
	if len(measured) == 0 || v.before(measured[0]) {
		return unknown("it is older than what the table has", "use a newer version, or "+nextWithDWARF)
	}
	// The measured releases around v; equal if v is one of them.
	after, exact := slices.BinarySearchFunc(measured, v, version.compare)
	before := after
	if !exact {
		before = after - 1
	}
	src := FromTable
	// Later patches of a version are taken for the last one measured.
	if m := measured[before]; !exact && v[0] == m[0] && v[1] == m[1] && (after == len(measured) || measured[after][1] != m[1] || measured[after][0] != m[0]) {
		after, src = before, Derived
	}
	if after == len(measured) {
		return unknown("it is newer than what the table has", update)
	}
	lo, inLo := t.at(field, before)
	hi, inHi := t.at(field, after)
	switch {
	case !inLo && !inHi:
		return unknown("this version has no such field", "")
	case inLo != inHi || lo != hi:
		return unknown("it moved between two versions that were measured, and this one is between them", update)
	}
	return lo, src, nil
}

func (t *typeTable) at(field string, i int) (uint64, bool) {
	for _, s := range t.fields[field] {
		if s.from <= i && i <= s.to {
			return s.offset, true
		}
	}
	return 0, false
}

// Fields lists the fields of a struct that the table knows in any version.
func Fields(typ string) []string {
	t := tabledTypes()[typ]
	if t == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(t.fields))
}

// Types lists the structs of the table.
func Types() []string { return slices.Sorted(maps.Keys(tabledTypes())) }
