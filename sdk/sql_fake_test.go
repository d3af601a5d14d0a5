package sdk

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// fake is a database whose driver fails as it is told and notes how it is
// called. What drivers can do differs in ways that no single real one has; what
// real ones do is tested in stocktest.
type fake struct {
	conn func(*fakeConn) driver.Conn // what the driver can do
	stmt func(*fakeStmt) driver.Stmt

	mu    sync.Mutex
	calls []string
	fails map[string][]error // by call: errors of the next ones, nil for none
	conns int
}

func (f *fake) Connect(context.Context) (driver.Conn, error) {
	if err := f.note("connect"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns++
	return f.conn(&fakeConn{f, f.conns}), nil
}
func (f *fake) Driver() driver.Driver             { return f }
func (f *fake) Open(string) (driver.Conn, error)  { return f.Connect(context.Background()) }
func (f *fake) Close() error                      { return f.note("close database") }
func (f *fake) fail(call string, errs ...error)   { f.fails[call] = errs }
func newFake(c func(*fakeConn) driver.Conn) *fake { return &fake{conn: c, fails: map[string][]error{}} }

// errToPanic has a call panic.
var errToPanic = errors.New("panic")

// note notes a call and says how it ends.
func (f *fake) note(call string, more ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprint(append([]any{call}, more...)...))
	if errs := f.fails[call]; len(errs) > 0 {
		f.fails[call] = errs[1:]
		if errs[0] == errToPanic {
			panic(errs[0])
		}
		return errs[0]
	}
	return nil
}

type fakeConn struct {
	f *fake
	n int
}

func (c *fakeConn) Prepare(q string) (driver.Stmt, error) {
	if err := c.f.note("prepare", c.n, q); err != nil {
		return nil, err
	}
	s := &fakeStmt{c, q}
	if c.f.stmt != nil {
		return c.f.stmt(s), nil
	}
	return s, nil
}
func (c *fakeConn) Close() error              { return c.f.note("close", c.n) }
func (c *fakeConn) Begin() (driver.Tx, error) { return fakeTx{c}, c.f.note("begin", c.n) }

type fakeTx struct{ c *fakeConn }

func (t fakeTx) Commit() error   { return t.c.f.note("commit", t.c.n) }
func (t fakeTx) Rollback() error { return t.c.f.note("rollback", t.c.n) }

type fakeStmt struct {
	c *fakeConn
	q string
}

func (s *fakeStmt) Close() error  { return s.c.f.note("close statement", s.c.n) }
func (s *fakeStmt) NumInput() int { return strings.Count(s.q, "?") }
func (s *fakeStmt) Exec(args []driver.Value) (driver.Result, error) {
	return driver.RowsAffected(1), s.c.f.note("statement exec", s.c.n, s.q, args)
}
func (s *fakeStmt) Query(args []driver.Value) (driver.Rows, error) {
	return &fakeRows{n: 2}, s.c.f.note("statement query", s.c.n, s.q, args)
}

type fakeRows struct{ n int }

func (r *fakeRows) Columns() []string { return []string{"a"} }
func (r *fakeRows) Close() error      { return nil }
func (r *fakeRows) Next(dest []driver.Value) error {
	if r.n == 0 {
		return io.EOF
	}
	r.n--
	dest[0] = int64(r.n)
	return nil
}

// What connections may have beside.
type (
	execs     struct{ c *fakeConn }
	queries   struct{ c *fakeConn }
	oldExecs  struct{ c *fakeConn }
	oldQuery  struct{ c *fakeConn }
	prepares  struct{ c *fakeConn }
	begins    struct{ c *fakeConn }
	pings     struct{ c *fakeConn }
	checks    struct{ c *fakeConn }
	resets    struct{ c *fakeConn }
	validates struct{ c *fakeConn }
)

func (x execs) ExecContext(_ context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(2), x.c.f.note("exec", x.c.n, q, args)
}
func (x queries) QueryContext(_ context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	if err := x.c.f.note("query", x.c.n, q, args); err != nil {
		return nil, err
	}
	return &fakeRows{n: 1}, nil
}
func (x oldExecs) Exec(q string, args []driver.Value) (driver.Result, error) {
	return driver.RowsAffected(3), x.c.f.note("old exec", x.c.n, q, args)
}
func (x oldQuery) Query(q string, args []driver.Value) (driver.Rows, error) {
	return &fakeRows{n: 3}, x.c.f.note("old query", x.c.n, q, args)
}
func (x prepares) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	return x.c.Prepare("in context " + q)
}
func (x begins) BeginTx(_ context.Context, o driver.TxOptions) (driver.Tx, error) {
	return fakeTx(x), x.c.f.note("begin", x.c.n, o)
}
func (x pings) Ping(context.Context) error { return x.c.f.note("ping", x.c.n) }
func (x checks) CheckNamedValue(v *driver.NamedValue) error {
	switch v.Value.(type) {
	case chan int:
		v.Value = "a channel"
		return nil
	case func():
		return driver.ErrRemoveArgument
	}
	return driver.ErrSkip
}
func (x resets) ResetSession(context.Context) error { return x.c.f.note("reset", x.c.n) }
func (x validates) IsValid() bool                   { return x.c.f.note("valid", x.c.n) == nil }

// What statements may have beside.
type (
	stmtExecs    struct{ *fakeStmt }
	stmtChecks   struct{ *fakeStmt }
	stmtConverts struct{ *fakeStmt }
)

func (s stmtExecs) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(4), s.c.f.note("statement exec in context", s.c.n, s.q, args)
}
func (s stmtExecs) QueryContext(_ context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return &fakeRows{n: 4}, s.c.f.note("statement query in context", s.c.n, s.q, args)
}
func (s stmtChecks) CheckNamedValue(v *driver.NamedValue) error {
	if _, ok := v.Value.(map[int]int); ok {
		v.Value = "a map"
		return nil
	}
	return driver.ErrSkip
}
func (s stmtConverts) ColumnConverter(i int) driver.ValueConverter { return converts(i) }

type converts int

func (c converts) ConvertValue(v any) (driver.Value, error) {
	if _, ok := v.([]int); ok {
		return fmt.Sprintf("integers in column %d", c), nil
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

// drivers are drivers that can do different things.
var drivers = map[string]func(*fakeConn) driver.Conn{
	"least": func(c *fakeConn) driver.Conn { return c },
	"most": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			execs
			queries
			prepares
			begins
			pings
			checks
			resets
			validates
		}{c, execs{c}, queries{c}, prepares{c}, begins{c}, pings{c}, checks{c}, resets{c}, validates{c}}
	},
	"old": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			oldExecs
			oldQuery
		}{c, oldExecs{c}, oldQuery{c}}
	},
	"execs": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			execs
			checks
		}{c, execs{c}, checks{c}}
	},
	"queries": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			queries
			prepares
		}{c, queries{c}, prepares{c}}
	},
	"validates": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			validates
			begins
		}{c, validates{c}, begins{c}}
	},
	"resets": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			resets
			pings
		}{c, resets{c}, pings{c}}
	},
	"resets and validates": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			resets
			validates
		}{c, resets{c}, validates{c}}
	},
	"execs, resets and validates": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			execs
			resets
			validates
		}{c, execs{c}, resets{c}, validates{c}}
	},
	"execs, queries and validates": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			execs
			queries
			validates
		}{c, execs{c}, queries{c}, validates{c}}
	},
	"execs and validates": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			execs
			validates
		}{c, execs{c}, validates{c}}
	},
	"queries, resets and validates": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			queries
			resets
			validates
		}{c, queries{c}, resets{c}, validates{c}}
	},
	"queries and validates": func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			queries
			validates
		}{c, queries{c}, validates{c}}
	},
}

var statements = map[string]func(*fakeStmt) driver.Stmt{
	"least":    func(s *fakeStmt) driver.Stmt { return s },
	"execs":    func(s *fakeStmt) driver.Stmt { return stmtExecs{s} },
	"checks":   func(s *fakeStmt) driver.Stmt { return stmtChecks{s} },
	"converts": func(s *fakeStmt) driver.Stmt { return stmtConverts{s} },
	"all": func(s *fakeStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
			driver.StmtQueryContext
			driver.NamedValueChecker
			driver.ColumnConverter
		}{s, stmtExecs{s}, stmtExecs{s}, stmtChecks{s}, stmtConverts{s}}
	},
}

// programs use a database in ways that end differently.
var programs = map[string]func(ctx context.Context, f *fake, db *sql.DB, say func(...any)){
	"exec": func(ctx context.Context, f *fake, db *sql.DB, say func(...any)) {
		for _, args := range [][]any{{1}, {make(chan int)}, {[]int{1}}, {map[int]int{}}, {1, 2}, {sql.Named("n", 1)}, {sql.Named("?", 1)}, {func() {}, 7}, {sql.NullString{}}, {struct{}{}}} {
			res, err := db.ExecContext(ctx, "UPDATE t SET a = ?", args...)
			say(res != nil, err)
			if err == nil {
				say(res.RowsAffected())
				say(res.LastInsertId())
			}
			rows, err := db.QueryContext(ctx, "SELECT a FROM t WHERE a = ?", args...)
			say(err)
			say(read(rows))
		}
	},
	"statements": func(ctx context.Context, f *fake, db *sql.DB, say func(...any)) {
		stmt, err := db.PrepareContext(ctx, "UPDATE t SET a = ?")
		if say(err); err != nil {
			return
		}
		for _, args := range [][]any{{1}, {make(chan int)}, {[]int{1}}, {map[int]int{}}, {1, 2}, {sql.Named("n", 1)}, {struct{}{}}} {
			_, err = stmt.ExecContext(ctx, args...)
			say(err)
			rows, err := stmt.QueryContext(ctx, args...)
			say(err)
			say(read(rows))
		}
		say(stmt.Close())
		f.fail("prepare", errors.New("no such table"))
		_, err = db.Prepare("UPDATE u SET a = 1")
		say(err)
	},
	"transactions": func(ctx context.Context, f *fake, db *sql.DB, say func(...any)) {
		for _, opts := range []*sql.TxOptions{nil, {ReadOnly: true}, {Isolation: sql.LevelSerializable}} {
			tx, err := db.BeginTx(ctx, opts)
			if say(err); err != nil {
				continue
			}
			_, err = tx.Exec("UPDATE t SET a = ?", 1)
			say(err)
			say(tx.Commit())
			say(tx.Rollback())
		}
		tx, err := db.Begin()
		say(err)
		f.fail("rollback", errors.New("no"))
		say(tx.Rollback())
		f.fail("begin", driver.ErrBadConn, driver.ErrBadConn)
		tx, err = db.Begin()
		say(err)
		f.fail("exec", driver.ErrBadConn)
		f.fail("statement exec", driver.ErrBadConn)
		_, err = tx.Exec("UPDATE t SET a = ?", 1)
		say(err)
		f.fail("commit", driver.ErrBadConn)
		say(tx.Commit())
	},
	"a canceled transaction": func(ctx context.Context, f *fake, db *sql.DB, say func(...any)) {
		ctx, cancel := context.WithCancel(ctx)
		tx, err := db.BeginTx(ctx, nil)
		say(err)
		cancel()
		for deadline := time.Now().Add(time.Minute); tx.Commit() != sql.ErrTxDone || db.Stats().InUse > 0; { // database/sql rolls back by itself
			if time.Now().After(deadline) {
				say("not rolled back")
				break
			}
		}
		say(db.Stats().OpenConnections) // not the same for drivers with and without a validator
		_, err = db.ExecContext(ctx, "UPDATE t SET a = 1")
		say(err)
		_, err = db.PrepareContext(ctx, "UPDATE t SET a = 1")
		say(err)
		_, err = db.BeginTx(ctx, nil)
		say(err)
	},
	"connections that are dead": func(ctx context.Context, f *fake, db *sql.DB, say func(...any)) {
		_, err := db.Exec("UPDATE t SET a = ?", 0)
		say(err)
		for n := range 5 {
			bad := slices.Repeat([]error{fmt.Errorf("broken pipe: %w", driver.ErrBadConn)}, n)
			for _, call := range []string{"exec", "old exec", "statement exec", "statement exec in context", "query", "old query", "ping", "connect"} {
				f.fail(call, bad...)
			}
			_, err := db.ExecContext(ctx, "UPDATE t SET a = ?", 1)
			say(n, err, errors.Is(err, driver.ErrBadConn))
			rows, err := db.Query("SELECT a FROM t")
			say(n, err)
			say(read(rows))
			say(n, db.Ping())
		}
		f.fail("valid", errors.New("no"))
		f.fail("reset", driver.ErrBadConn)
		for range 3 {
			_, err := db.Exec("UPDATE t SET a = ?", 2)
			say(err)
		}
	},
	"other ways": func(ctx context.Context, f *fake, db *sql.DB, say func(...any)) {
		f.fail("exec", driver.ErrSkip)
		f.fail("old exec", driver.ErrSkip)
		f.fail("query", driver.ErrSkip)
		f.fail("old query", driver.ErrSkip)
		_, err := db.Exec("UPDATE t SET a = ?", 1)
		say(err)
		var a int
		say(db.QueryRow("SELECT a FROM t WHERE a = ?", 1).Scan(&a), a)
		conn, err := db.Conn(ctx)
		say(err)
		say(conn.PingContext(ctx))
		say(conn.Raw(func(c any) error {
			_, ok := DriverConn(c).(interface {
				Prepare(string) (driver.Stmt, error)
			})
			say(reflect.TypeOf(DriverConn(c)), ok)
			return errors.New("enough")
		}))
		say(conn.Close())
		f.fail("exec", sql.ErrNoRows, errors.New("syntax error"))
		_, err = db.Exec("UPDATE t SET a = ?", 1)
		say(err)
		say(db.Driver() == driver.Driver(f))
		say(db.Close())
		say(db.Close())
	},
}

func read(rows *sql.Rows) (all []int, err error) {
	if rows == nil {
		return nil, nil
	}
	for rows.Next() {
		var a int
		if err := rows.Scan(&a); err != nil {
			return all, err
		}
		all = append(all, a)
	}
	_ = rows.NextResultSet()
	types, _ := rows.ColumnTypes()
	return all, errors.Join(rows.Err(), fmt.Errorf("%d columns", len(types)), rows.Close())
}
