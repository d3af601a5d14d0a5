package sdk

import (
	"context"
	"strings"
	"sync"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/internal/sqltext"
)

// Database instruments a database whose driver is called without database/sql: it
// gives what SQL gives, call by call.
//
//	db := sdk.SQL{System: "postgresql", Server: "db:5432", Namespace: "shop"}.Database()
//	call := db.Query(ctx, query)
//	rows, err := conn.Query(call.Ctx(), query)
//	call.End(err)
//
// It is safe for concurrent use.
type Database struct {
	db *sqlDB

	mu     sync.RWMutex
	shapes map[shapeKey]*sqltext.Shape // of what is no query
}

// shapeKey is what a shape is found by.
type shapeKey struct{ summary, operation, collection string }

const (
	// maxShapes is how many operations on collections of a database are told apart.
	// It is below the series that an instrument has.
	maxShapes = 1000
	// maxDatabases is how many are remembered: more than a program has, unless it
	// makes them up.
	maxDatabases = 256
	// maxBatchText is of how many queries of a batch the text is shown.
	maxBatchText = 10
)

// databases are those that were asked for.
var databases struct {
	mu  sync.Mutex
	all map[SQL]*Database
}

// Database is what calls of the database belong to: the same one for the same
// description. System must be set.
func (o SQL) Database() *Database {
	databases.mu.Lock()
	defer databases.mu.Unlock()
	d := databases.all[o]
	if d != nil {
		return d
	}
	d = &Database{db: o.database(), shapes: map[shapeKey]*sqltext.Shape{}}
	if databases.all == nil {
		databases.all = map[SQL]*Database{}
	}
	if len(databases.all) < maxDatabases {
		databases.all[o] = d
	}
	return d
}

// Pool is the name that ObserveConnections should have for its connections.
func (d *Database) Pool() string { return d.db.pool }

// Connect calls open, which opens a connection.
func (d *Database) Connect(ctx context.Context, open func(context.Context) error) error {
	return d.db.connect(ctx, open)
}

// Query begins a query or statement in SQL.
func (d *Database) Query(ctx context.Context, query string) *DatabaseCall {
	if sqlCalls.of() == nil {
		return &DatabaseCall{ctx: ctx}
	}
	if step := transactionStep(query); step != nil {
		return d.begin(ctx, step, step.Summary, "")
	}
	shape := d.db.queries.Shape(query)
	return d.begin(ctx, shape, shape.Summary, query)
}

// transactionStep is the step that drivers have a query for, as database/sql calls
// it; or nil.
func transactionStep(query string) *sqltext.Shape {
	word, _, _ := strings.Cut(query, " ")
	switch {
	case len(word) > len("rollback"):
		return nil
	case strings.EqualFold(word, "begin"):
		return sqlBegin
	case strings.EqualFold(query, "commit"):
		return sqlCommit
	case strings.EqualFold(query, "rollback"):
		return sqlRollback
	}
	return nil
}

// Step begins what has no text but is SQL, as PREPARE, or COPY of a table. query
// is what it is about; or empty.
func (d *Database) Step(ctx context.Context, operation, collection, query string) *DatabaseCall {
	name := operation
	if collection != "" {
		name += " " + collection
	}
	return d.begin(ctx, d.shape(shapeKey{name, operation, collection}), name, query)
}

// Batch begins several queries that are sent at once.
func (d *Database) Batch(ctx context.Context, queries []string) *DatabaseCall {
	if sqlCalls.of() == nil {
		return &DatabaseCall{ctx: ctx}
	}
	if len(queries) == 1 {
		return d.Query(ctx, queries[0])
	}
	key := shapeKey{summary: "BATCH", operation: "BATCH"}
	if len(queries) > 0 {
		first := d.db.queries.Shape(queries[0])
		same := *first
		for _, q := range queries[1:] {
			s := d.db.queries.Shape(q)
			if s.Summary != same.Summary {
				same.Summary = ""
			}
			if s.Operation != same.Operation {
				same.Operation = ""
			}
			if s.Collection != same.Collection {
				same.Collection = ""
			}
		}
		add := func(to *string, more string) {
			if more != "" {
				*to += " " + more
			}
		}
		add(&key.operation, same.Operation)
		add(&key.summary, same.Summary)
		key.collection = same.Collection
	}
	call := d.begin(ctx, d.shape(key), key.summary, "")
	if call.call != nil && call.call.Recording() {
		sp := call.call.Span()
		sp.SetAttr(core.Int("db.operation.batch.size", int64(len(queries))))
		if !d.db.hideText {
			text := ""
			for i, q := range queries {
				if i == maxBatchText {
					text += "; ..."
					break
				}
				if i > 0 {
					text += "; "
				}
				text += d.db.queries.Text(q)
			}
			sp.SetAttr(core.String("db.query.text", text))
		}
	}
	return call
}

// Do begins a command of a database that has no query language, on a collection or
// on none.
func (d *Database) Do(ctx context.Context, command, collection string) *DatabaseCall {
	name := command
	if collection != "" {
		name += " " + collection
	}
	return d.begin(ctx, d.shape(shapeKey{"", command, collection}), name, "")
}

func (d *Database) begin(ctx context.Context, shape *sqltext.Shape, name, query string) *DatabaseCall {
	if sqlCalls.of() == nil {
		return &DatabaseCall{ctx: ctx}
	}
	call, ctx := d.db.begin(ctx, nil, shape, name, query)
	return &DatabaseCall{call, ctx}
}

// shape is the one for what is no query. Beyond a number they are all one, as
// series must be few.
func (d *Database) shape(k shapeKey) *sqltext.Shape {
	d.mu.RLock()
	s := d.shapes[k]
	d.mu.RUnlock()
	if s != nil {
		return s
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.shapes) >= maxShapes {
		k = shapeKey{operation: "_OTHER"}
	}
	if s = d.shapes[k]; s == nil {
		s = &sqltext.Shape{Summary: k.summary, Operation: k.operation, Collection: k.collection}
		d.shapes[k] = s
	}
	return s
}

// DatabaseCall is a call of a database under way. It is for one goroutine at a
// time.
type DatabaseCall struct {
	call *sqlCall // nil: nothing is recorded, or it has ended
	ctx  context.Context
}

// Ctx is the context to call the driver with.
func (c *DatabaseCall) Ctx() context.Context { return c.ctx }

// SetAttr adds an attribute to the span, if that is recorded so far.
func (c *DatabaseCall) SetAttr(a core.Attr) {
	if c.call != nil {
		c.call.Span().SetAttr(a)
	}
}

// End ends the call with what the database has answered. What is no failure,
// as sql.ErrNoRows, is none here. A second End does nothing.
func (c *DatabaseCall) End(err error) {
	if call := c.call; call != nil {
		c.call = nil
		call.end(&err)
	}
}
