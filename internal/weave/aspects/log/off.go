//go:build guanlan_woven

package log

import (
	"sync/atomic"
	"time"
)

// What package sdk sets when this package is not woven: nobody calls it.

type GuanlanHooks struct {
	Send func(at time.Time, text []byte)
}

var Guanlan atomic.Pointer[GuanlanHooks]
