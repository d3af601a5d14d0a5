package query

import (
	"fmt"

	"github.com/guanlan-io/guanlan/internal/store"
)

// FieldError says which part of a question cannot be understood and what to
// write instead. It wraps store.ErrInvalid.
type FieldError struct {
	Field string // as the API names it: filter, selFilter, cursor, traceId…
	Value string // what was given
	Pos   int    // character of Value where it goes wrong, from 1; 0 when unknown
	Msg   string // what is wrong with it
	Next  string // what to do, with an example
}

func (e *FieldError) Error() string {
	if e.Next == "" {
		return fmt.Sprintf("%s: %s", e.Field, e.Msg)
	}
	return fmt.Sprintf("%s: %s; %s", e.Field, e.Msg, e.Next)
}

// Unwrap makes errors.Is(err, store.ErrInvalid) true.
func (e *FieldError) Unwrap() error { return store.ErrInvalid }
