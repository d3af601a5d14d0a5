package sdk

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"unique"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/internal/sqltext"
)

// databaseBounds are those of the semantic conventions for durations of
// database operations.
var databaseBounds = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}

// sqlKey is what the series of a call depends on.
type sqlKey struct {
	target          unique.Handle[sqlTarget]
	shape           *sqltext.Shape
	failure, status string
}

var sqlCalls = NewOperations(OperationOptions[sqlKey]{
	Scope: scopeOfSDK, Kind: core.KindClient, Bounds: databaseBounds,
	Metric: "db.client.operation.duration", Description: "Duration of database client operations.", Attrs: sqlKey.attrs,
})

func (k sqlKey) attrs() []core.Attr {
	attrs := describeShape(k.target.Value().attrs(make([]core.Attr, 0, 10)), k.shape)
	if k.failure != "" {
		attrs = append(attrs, core.String("error.type", k.failure))
	}
	if k.status != "" {
		attrs = append(attrs, core.String("db.response.status_code", k.status))
	}
	return attrs
}

func describeShape(to []core.Attr, s *sqltext.Shape) []core.Attr {
	add := func(key, value string) {
		if value != "" {
			to = append(to, core.String(key, value))
		}
	}
	add("db.query.summary", s.Summary)
	add("db.operation.name", s.Operation)
	add("db.collection.name", s.Collection)
	add("db.stored_procedure.name", s.Procedure)
	return to
}

// sqlCall is an operation under way. It is used again unless its span was
// recorded: then the driver has had it in a context, and may keep it.
type sqlCall struct {
	Operation[sqlKey]
	db     *sqlDB
	conn   *sqlConn // of database/sql, or nil
	shape  *sqltext.Shape
	query  string // or empty
	shared bool   // recorded from the start
}

var sqlCallPool = sync.Pool{New: func() any { return new(sqlCall) }}

// begin starts an operation: that of a query, or a step. It gives the context to
// call the driver with. Without an SDK the call is nil, which can be ended.
func (c *sqlConn) begin(ctx context.Context, step *sqltext.Shape, query string) (*sqlCall, context.Context) {
	if sqlCalls.of() == nil {
		return nil, ctx
	}
	shape := step
	if shape == nil {
		shape = c.db.queries.Shape(query)
	}
	return c.db.begin(ctx, c, shape, shape.Summary, query)
}

// begin starts an operation of this name.
func (db *sqlDB) begin(ctx context.Context, conn *sqlConn, shape *sqltext.Shape, name, query string) (*sqlCall, context.Context) {
	if name == "" {
		name = db.target.Value().system
	}
	call := sqlCallPool.Get().(*sqlCall)
	call.db, call.conn, call.shape, call.query = db, conn, shape, query
	sqlCalls.StartIn(&call.Operation, ctx, name)
	if call.shared = call.Recording(); !call.shared {
		return call, ctx
	}
	call.describe()
	return call, call.Ctx()
}

// describe sets what is known of an operation at its start.
func (c *sqlCall) describe() {
	var few [12]core.Attr
	attrs := describeShape(append(few[:0], c.db.attrs...), c.shape)
	if c.query != "" && !c.db.hideText {
		attrs = append(attrs, core.String("db.query.text", c.db.queries.Text(c.query)))
	}
	c.Span().SetAttrs(attrs...)
}

// end ends the operation with what the driver says. It is deferred with the error
// set to errPanicked before the driver is called.
//
// driver.ErrSkip asks database/sql to take another way: nothing was done, and
// nothing is told. driver.ErrBadConn of a connection that worked before, outside
// of a transaction, has database/sql try again on another one: the span, if it
// is recorded, says so, but that is no failure and no operation of its own. With
// a new connection or in a transaction it is one. (It is not seen here whether
// the caller holds on to a sql.Conn, for which nothing is tried again.)
func (c *sqlCall) end(said *error) {
	if c == nil {
		return
	}
	err := *said
	conn, key := c.conn, sqlKey{target: c.db.target, shape: c.shape}
	switch {
	case err == driver.ErrSkip: // as database/sql compares it
	case err != nil && conn != nil && conn.lives && !conn.inTx && errors.Is(err, driver.ErrBadConn):
		if c.Recording() {
			c.Finish("")
			c.Span().SetAttr(core.String("error.type", "bad_connection"))
			c.Span().EndAfter(c.took)
		}
	default:
		key.failure, key.status = sqlFailure(err)
		if c.Finish(key.failure) && !c.shared {
			c.describe()
		}
		if key.failure != "" {
			describeFailure(c.Span(), err, key.status)
		}
		if conn != nil {
			conn.lives = conn.lives || err == nil || key.status != ""
		}
		c.End(key)
	}
	if !c.shared {
		*c = sqlCall{}
		sqlCallPool.Put(c)
	}
}
