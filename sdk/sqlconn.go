package sdk

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/guanlan-io/guanlan/sdk/internal/sqltext"
)

// sqlConn is a connection. database/sql asks what a connection can do; where
// saying yes and then doing what database/sql would have done comes to the same,
// sqlConn says yes:
//
//	ConnPrepareContext, ConnBeginTx   the context is looked at after the call
//	Pinger                            answers nothing
//	NamedValueChecker                 driver.ErrSkip: the next one is asked
//	SessionResetter                   does nothing, where there is no Validator
//
// The rest is added by wrap. Rows and results are the driver's own. Calls do not
// overlap: database/sql has a lock for each connection.
type sqlConn struct {
	driver.Conn
	db *sqlDB
	// lives: the server has answered on this connection before.
	lives bool
	inTx  bool
}

// Parts of a connection that must not be there unless the driver has them:
// without an execer or queryer statements are prepared before their arguments
// are looked at, and a connection that has both of resetter and validator is
// kept after a transaction whose context was canceled.
type (
	sqlExecer    struct{ c *sqlConn }
	sqlQueryer   struct{ c *sqlConn }
	sqlResetter  struct{ c *sqlConn }
	sqlValidator struct{ c *sqlConn }
)

// What drivers of old have; package driver has them marked as deprecated, for
// drivers.
type (
	oldExecer interface {
		Exec(query string, args []driver.Value) (driver.Result, error)
	}
	oldQueryer interface {
		Query(query string, args []driver.Value) (driver.Rows, error)
	}
	oldConverter interface {
		ColumnConverter(i int) driver.ValueConverter
	}
)

// wrap instruments a connection.
func (db *sqlDB) wrap(conn driver.Conn) driver.Conn {
	c := &sqlConn{Conn: conn, db: db}
	e, q, r, v := sqlExecer{c}, sqlQueryer{c}, sqlResetter{c}, sqlValidator{c}
	_, exec := conn.(driver.ExecerContext)
	_, query := conn.(driver.QueryerContext)
	if !exec {
		_, exec = conn.(oldExecer)
	}
	if !query {
		_, query = conn.(oldQueryer)
	}
	_, reset := conn.(driver.SessionResetter)
	_, valid := conn.(driver.Validator)
	switch {
	case exec && query && reset && valid:
		return struct {
			*sqlConn
			sqlExecer
			sqlQueryer
			sqlResetter
			sqlValidator
		}{c, e, q, r, v}
	case exec && query && valid:
		return struct {
			*sqlConn
			sqlExecer
			sqlQueryer
			sqlValidator
		}{c, e, q, v}
	case exec && query:
		return struct {
			*sqlConn
			sqlExecer
			sqlQueryer
			sqlResetter
		}{c, e, q, r}
	case exec && reset && valid:
		return struct {
			*sqlConn
			sqlExecer
			sqlResetter
			sqlValidator
		}{c, e, r, v}
	case exec && valid:
		return struct {
			*sqlConn
			sqlExecer
			sqlValidator
		}{c, e, v}
	case exec:
		return struct {
			*sqlConn
			sqlExecer
			sqlResetter
		}{c, e, r}
	case query && reset && valid:
		return struct {
			*sqlConn
			sqlQueryer
			sqlResetter
			sqlValidator
		}{c, q, r, v}
	case query && valid:
		return struct {
			*sqlConn
			sqlQueryer
			sqlValidator
		}{c, q, v}
	case query:
		return struct {
			*sqlConn
			sqlQueryer
			sqlResetter
		}{c, q, r}
	case reset && valid:
		return struct {
			*sqlConn
			sqlResetter
			sqlValidator
		}{c, r, v}
	case valid:
		return struct {
			*sqlConn
			sqlValidator
		}{c, v}
	}
	return struct {
		*sqlConn
		sqlResetter
	}{c, r}
}

// Raw is the driver's own connection, see DriverConn.
func (c *sqlConn) Raw() driver.Conn { return c.Conn }

// ExecContext implements driver.ExecerContext.
func (e sqlExecer) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	call, ctx := e.c.begin(ctx, nil, query)
	defer call.end(&err)
	err = errPanicked
	if with, ok := e.c.Conn.(driver.ExecerContext); ok {
		res, err = with.ExecContext(ctx, query, args)
	} else if values, bad := plainArgs(ctx, args); bad != nil {
		err = bad
	} else {
		res, err = e.c.Conn.(oldExecer).Exec(query, values)
	}
	return res, err
}

// QueryContext implements driver.QueryerContext.
func (q sqlQueryer) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	call, ctx := q.c.begin(ctx, nil, query)
	defer call.end(&err)
	err = errPanicked
	if with, ok := q.c.Conn.(driver.QueryerContext); ok {
		rows, err = with.QueryContext(ctx, query, args)
	} else if values, bad := plainArgs(ctx, args); bad != nil {
		err = bad
	} else {
		rows, err = q.c.Conn.(oldQueryer).Query(query, values)
	}
	return rows, err
}

// ResetSession implements driver.SessionResetter.
func (r sqlResetter) ResetSession(ctx context.Context) error {
	if with, ok := r.c.Conn.(driver.SessionResetter); ok {
		return with.ResetSession(ctx)
	}
	return nil
}

// IsValid implements driver.Validator.
func (v sqlValidator) IsValid() bool { return v.c.Conn.(driver.Validator).IsValid() }

// CheckNamedValue implements driver.NamedValueChecker.
func (c *sqlConn) CheckNamedValue(v *driver.NamedValue) error {
	if with, ok := c.Conn.(driver.NamedValueChecker); ok {
		return with.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// Steps that are no queries.
var (
	sqlPing     = &sqltext.Shape{Summary: "PING", Operation: "PING"}
	sqlBegin    = &sqltext.Shape{Summary: "BEGIN", Operation: "BEGIN"}
	sqlCommit   = &sqltext.Shape{Summary: "COMMIT", Operation: "COMMIT"}
	sqlRollback = &sqltext.Shape{Summary: "ROLLBACK", Operation: "ROLLBACK"}
	sqlPrepare  = &sqltext.Shape{Summary: "PREPARE", Operation: "PREPARE"}
)

// Ping implements driver.Pinger.
func (c *sqlConn) Ping(ctx context.Context) (err error) {
	with, ok := c.Conn.(driver.Pinger)
	if !ok {
		return nil
	}
	call, ctx := c.begin(ctx, sqlPing, "")
	defer call.end(&err)
	err = errPanicked
	err = with.Ping(ctx)
	return err
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *sqlConn) PrepareContext(ctx context.Context, query string) (stmt driver.Stmt, err error) {
	call, ctx := c.begin(ctx, sqlPrepare, query)
	defer call.end(&err)
	err = errPanicked
	if with, ok := c.Conn.(driver.ConnPrepareContext); ok {
		stmt, err = with.PrepareContext(ctx, query)
	} else if stmt, err = c.Conn.Prepare(query); err == nil && ctx.Err() != nil {
		_ = stmt.Close()
		stmt, err = nil, ctx.Err()
	}
	if err != nil || stmt == nil {
		return stmt, err
	}
	s := &sqlStmt{Stmt: stmt, conn: c, query: query}
	if _, ok := stmt.(oldConverter); ok {
		return sqlConvertingStmt{s}, nil
	}
	return s, nil
}

// BeginTx implements driver.ConnBeginTx.
func (c *sqlConn) BeginTx(ctx context.Context, opts driver.TxOptions) (tx driver.Tx, err error) {
	call, inner := c.begin(ctx, sqlBegin, "")
	defer call.end(&err)
	err = errPanicked
	if with, ok := c.Conn.(driver.ConnBeginTx); ok {
		tx, err = with.BeginTx(inner, opts)
	} else {
		tx, err = c.beginPlain(ctx, opts)
	}
	if err != nil || tx == nil {
		return tx, err
	}
	c.inTx = true
	return &sqlTx{tx, c, ctx}, nil
}

// beginPlain is what database/sql does with a driver that knows no options.
func (c *sqlConn) beginPlain(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if opts.Isolation != driver.IsolationLevel(sql.LevelDefault) {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	//lint:ignore SA1019 the driver has nothing newer
	tx, err := c.Conn.Begin()
	if err == nil && ctx.Err() != nil {
		_ = tx.Rollback()
		return nil, ctx.Err()
	}
	return tx, err
}

// plainArgs is what database/sql does for a driver that knows neither contexts
// nor names.
func plainArgs(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = a.Value
	}
	return values, ctx.Err()
}

// sqlTx is a transaction. Its steps belong to the span it was begun in.
type sqlTx struct {
	driver.Tx
	conn *sqlConn
	ctx  context.Context
}

// Commit implements driver.Tx.
func (t *sqlTx) Commit() error { return t.finish(sqlCommit, t.Tx.Commit) }

// Rollback implements driver.Tx.
func (t *sqlTx) Rollback() error { return t.finish(sqlRollback, t.Tx.Rollback) }

func (t *sqlTx) finish(step *sqltext.Shape, f func() error) (err error) {
	call, _ := t.conn.begin(t.ctx, step, "")
	defer func() {
		call.end(&err)
		t.conn.inTx = false
	}()
	err = errPanicked
	err = f()
	return err
}

// sqlStmt is a prepared statement. It has all that a statement may have but
// ColumnConverter.
type sqlStmt struct {
	driver.Stmt
	conn  *sqlConn
	query string
}

// sqlConvertingStmt is one whose driver has ColumnConverter.
type sqlConvertingStmt struct{ *sqlStmt }

// ColumnConverter implements driver.ColumnConverter.
func (s sqlConvertingStmt) ColumnConverter(i int) driver.ValueConverter {
	return s.Stmt.(oldConverter).ColumnConverter(i)
}

// CheckNamedValue implements driver.NamedValueChecker. database/sql asks the
// connection if a statement has none.
func (s *sqlStmt) CheckNamedValue(v *driver.NamedValue) error {
	if with, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return with.CheckNamedValue(v)
	}
	return s.conn.CheckNamedValue(v)
}

// ExecContext implements driver.StmtExecContext.
func (s *sqlStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	call, ctx := s.conn.begin(ctx, nil, s.query)
	defer call.end(&err)
	err = errPanicked
	if with, ok := s.Stmt.(driver.StmtExecContext); ok {
		res, err = with.ExecContext(ctx, args)
	} else if values, bad := plainArgs(ctx, args); bad != nil {
		err = bad
	} else {
		//lint:ignore SA1019 the driver has nothing newer
		res, err = s.Stmt.Exec(values)
	}
	return res, err
}

// QueryContext implements driver.StmtQueryContext.
func (s *sqlStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	call, ctx := s.conn.begin(ctx, nil, s.query)
	defer call.end(&err)
	err = errPanicked
	if with, ok := s.Stmt.(driver.StmtQueryContext); ok {
		rows, err = with.QueryContext(ctx, args)
	} else if values, bad := plainArgs(ctx, args); bad != nil {
		err = bad
	} else {
		//lint:ignore SA1019 the driver has nothing newer
		rows, err = s.Stmt.Query(values)
	}
	return rows, err
}
