//go:build guanlan_woven

package slog

import (
	"context"
	"sync/atomic"
)

// What package sdk sets when this package is not woven: nobody calls it.

type GuanlanHooks struct {
	IDs  func(ctx context.Context, ids *GuanlanIDs) bool
	Send func(ctx context.Context, r *Record, with *GuanlanFields)
	Make func(*GuanlanFields) any
}

var Guanlan atomic.Pointer[GuanlanHooks]

type GuanlanIDs struct {
	InSpan       bool
	Trace        [32]byte
	Span         [16]byte
	Request, Biz string
	More         []Attr
}

type GuanlanFields struct {
	Made   atomic.Pointer[any]
	Before *GuanlanFields
	Group  string
	Attrs  []Attr
}

func GuanlanClaim(*Record) bool { return true }
