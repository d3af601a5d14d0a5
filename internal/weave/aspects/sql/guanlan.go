//go:build guanlan_woven

package sql

import (
	"context"
	"database/sql/driver"
	"sync"
	"sync/atomic"
)

// GuanlanHooks are what package sdk does when it is in the program.
type GuanlanHooks struct {
	// Connector instruments the connector of db; name and dsn are empty when it was
	// not opened by them. stop is called when db is closed, and may be nil.
	Connector func(db *DB, c driver.Connector, name, dsn string) (instrumented driver.Connector, stop func())
	// Raw is the driver's own connection.
	Raw func(conn any) any
}

// Guanlan is nil until package sdk has set it: databases may be opened before.
var Guanlan atomic.Pointer[GuanlanHooks]

// guanlanDB is what a DB has beside. It is instrumented with its first connection,
// so that its connector stays what it is.
type guanlanDB struct {
	name, dsn string
	once      sync.Once // of what follows
	connector driver.Connector
	stop      func()
}

func guanlanOpened(db *DB, name, dsn string) *DB {
	db.guanlan.name, db.guanlan.dsn = name, dsn
	return db
}

func (db *DB) guanlanConnect(ctx context.Context) (driver.Conn, error) {
	hooks, d := Guanlan.Load(), &db.guanlan
	if hooks == nil {
		return db.connector.Connect(ctx)
	}
	d.once.Do(func() { d.connector, d.stop = hooks.Connector(db, db.connector, d.name, d.dsn) })
	if d.connector == nil { // closed already
		return db.connector.Connect(ctx)
	}
	return d.connector.Connect(ctx)
}

func (d *guanlanDB) closed() {
	d.once.Do(func() {})
	if d.stop != nil {
		d.stop()
	}
}

func guanlanRaw(conn any) any {
	if hooks := Guanlan.Load(); hooks != nil {
		return hooks.Raw(conn)
	}
	return conn
}
