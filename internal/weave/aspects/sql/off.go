//go:build guanlan_woven

package sql

import (
	"database/sql/driver"
	"sync/atomic"
)

// What package sdk sets when this package is not woven: nobody calls it.

type GuanlanHooks struct {
	Connector func(db *DB, c driver.Connector, name, dsn string) (instrumented driver.Connector, stop func())
	Raw       func(conn any) any
}

var Guanlan atomic.Pointer[GuanlanHooks]
