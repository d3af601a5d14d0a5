package query

import "github.com/guanlan-io/guanlan/internal/store"

// Filter is a parsed filter.
type Filter []store.Cond

// ParseFilter reads the text form of a filter.
func ParseFilter(s string) (Filter, error) { return nil, nil }
