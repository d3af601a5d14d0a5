package main

import (
	"debug/dwarf"
	"strings"
)

// registers for integers and pointers on amd64; arm64 has more. What does not fit
// lies on the stack.
const registers = 9

// arguments gives registers to the parameters of one function, and to its results, by the rules of
// ABIInternal: each part of a value that is a word or less has one, in order; a
// value goes whole into registers or not at all.
type arguments struct {
	data     *dwarf.Data
	at       map[string]int64 // first register, by name
	in, outs int              // registers in use
}

func (a *arguments) add(e *dwarf.Entry, name string) error {
	typ, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
	if _, twice := a.at[name]; !ok || twice { // a result may also be a variable of its name
		return nil
	}
	t, err := a.data.Type(typ)
	if err != nil {
		return err
	}
	next := &a.in
	if out, _ := e.Val(dwarf.AttrVarParam).(bool); out {
		next = &a.outs
	}
	n, fits := words(t)
	if !fits || *next+n > registers {
		return nil
	}
	if name != "" && name != "_" && !strings.HasPrefix(name, "~b") {
		a.at[name] = int64(*next)
	}
	*next += n
	return nil
}

// words counts the integer registers that a value needs; an array of more than one
// element fits into none.
func words(t dwarf.Type) (n int, fits bool) {
	switch t := t.(type) {
	case *dwarf.TypedefType:
		return words(t.Type)
	case *dwarf.StructType:
		for _, f := range t.Field {
			w, ok := words(f.Type)
			if !ok {
				return 0, false
			}
			n += w
		}
		return n, true
	case *dwarf.ArrayType:
		switch t.Count {
		case 0:
			return 0, true
		case 1:
			return words(t.Type)
		}
		return 0, false
	case *dwarf.FloatType, *dwarf.ComplexType:
		return 0, true // have registers of their own
	}
	return 1, true
}
