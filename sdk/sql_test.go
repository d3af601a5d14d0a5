package sdk

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Whatever a driver can do, a program sees the same with and without
// instrumentation, and so does the driver.
func TestSQLChangesNothing(t *testing.T) {
	// without an SDK, with one that records all, and with one that records nothing
	for _, mode := range []string{"off", "all", "none"} {
		running.Store(nil)
		if mode != "off" {
			share := map[string]float64{"all": 1, "none": 0}[mode]
			start(t, Options{Sampler: core.NewByThreshold(share)})
		}
		for driverName, conn := range drivers {
			for stmtName, stmt := range statements {
				for name, program := range programs {
					var said, called [2][]string
					for i, open := range []func(driver.Connector) *sql.DB{sql.OpenDB, OpenDB} {
						f := newFake(conn)
						f.stmt = stmt
						db := open(f)
						program(t.Context(), f, db, func(what ...any) { said[i] = append(said[i], fmt.Sprint(what...)) })
						_ = db.Close()
						called[i] = f.calls
					}
					if len(said[0]) == 0 || len(called[0]) == 0 {
						t.Errorf("%s does nothing", name)
					}
					for what, of := range map[string][2][]string{"program sees": said, "driver sees": called} {
						if !slices.Equal(of[0], of[1]) {
							t.Errorf("SDK %s, driver %s, statements %s, program %s: the %s\n%s\nwithout instrumentation, but with it\n%s", mode, driverName, stmtName, name, what, strings.Join(of[0], "\n"), strings.Join(of[1], "\n"))
						}
					}
				}
			}
		}
	}
}

// stateError is an error with a code, as PostgreSQL's drivers have it.
type stateError struct{ state, text string }

func (e *stateError) Error() string    { return e.text }
func (e *stateError) SQLState() string { return e.state }

// numberError is one as MySQL's driver has it.
type numberError struct{ Number uint16 }

func (e *numberError) Error() string { return "Duplicate entry 'hunter2' for key 'users.email'" }

func TestSQL(t *testing.T) {
	for _, share := range []float64{0, 1} {
		s, sink := start(t, Options{Sampler: core.NewByThreshold(share)})
		f := newFake(drivers["most"])
		db := SQL{System: "postgresql", Server: "db.example:5433", Namespace: "shop"}.OpenDB(f)
		db.SetMaxOpenConns(7)
		ctx, root := s.TracerProvider().Tracer("t").Start(t.Context(), "root")
		do := func(query string, args ...any) {
			rows, err := db.QueryContext(ctx, query, args...)
			if err == nil {
				_, _ = read(rows)
			}
		}
		do("SELECT a FROM orders WHERE secret = 'hunter2'", 1)
		f.fail("query", &stateError{"23505", `value 'hunter2' is there`}, &numberError{1062}, context.Canceled, context.DeadlineExceeded, sql.ErrNoRows)
		for range 5 {
			do("SELECT b FROM carts")
		}
		f.fail("exec", driver.ErrSkip)
		_, err := db.ExecContext(ctx, "DELETE FROM skipped")
		f.fail("query", driver.ErrBadConn)
		do("SELECT c FROM retried")
		tx, err2 := db.BeginTx(ctx, nil)
		if err := errors.Join(err, err2, tx.Commit(), db.PingContext(ctx)); err != nil {
			t.Fatal(err)
		}
		f.fail("connect", errors.New(`parse "x://u:no route@db"`))
		db.SetMaxIdleConns(0)
		do("SELECT d FROM unreachable")
		root.End()
		got := sent(t, s, sink)
		for what, want := range map[string]bool{
			"SELECT orders": share == 1, "secret = ?": share == 1, "db.example": true, "shop": true, "SELECT carts": true, "SELECT b FROM carts": true, "23505": true, "1062": true, "value ?": true,
			"canceled": true, "timeout": true, "postgresql": true, "PREPARE": share == 1, "DELETE skipped": share == 1, "BEGIN": share == 1, "COMMIT": share == 1, "PING": share == 1, "CONNECT": true, "no route": false,
			"bad_connection": share == 1, "hunter2": false, "SELECT unreachable": false,
		} {
			if strings.Contains(got["/v1/traces"], what) != want {
				t.Errorf("share %v: %q in the spans is %v", share, what, !want)
			}
		}
		for what, want := range map[string]bool{
			"db.client.operation.duration": true, "SELECT orders": true, "SELECT carts": true, "23505": true, "canceled": true, "COMMIT": true, "db.client.connection.create_time": true, "db.example:5433/shop": true,
			"db.client.connection.count": true, "used": true, "idle": true, "db.client.connection.max": true, "db.client.connection.closed": true, "bad_connection": false, "hunter2": false,
		} {
			if strings.Contains(got["/v1/metrics"], what) != want {
				t.Errorf("share %v: %q in the metrics is %v", share, what, !want)
			}
		}
		want := uint64(5) // failures: four queries and a connect
		if share == 1 {
			// root; connect twice and once in vain; queries of orders, carts five times, retried twice; exec skipped: prepare and delete; begin, commit, ping.
			want = 1 + 3 + 1 + 5 + 2 + 2 + 3
		}
		if n := s.pipe.Stats().Sent; n != want {
			t.Errorf("share %v: %d spans were sent, want %d", share, n, want)
		}
		_ = db.Close()
	}
}

// What a driver gets is a context with the span of the query, if it is kept.
func TestSQLContext(t *testing.T) {
	for _, share := range []float64{0, 1} {
		s, _ := start(t, Options{Sampler: core.NewByThreshold(share)})
		ctx, root := s.TracerProvider().Tracer("t").Start(t.Context(), "root")
		var got context.Context
		db := OpenDB(newFake(func(c *fakeConn) driver.Conn {
			return struct {
				*fakeConn
				noteContext
			}{c, noteContext{&got}}
		}))
		if _, err := db.ExecContext(ctx, "UPDATE t SET a = 1"); err != nil {
			t.Fatal(err)
		}
		inner := trace.SpanContextFromContext(got)
		if inner.TraceID() != root.SpanContext().TraceID() || (inner.SpanID() != root.SpanContext().SpanID()) != (share == 1) || (got == ctx) != (share == 0) {
			t.Errorf("share %v: the driver sees %v in %v", share, inner, root.SpanContext())
		}
		_ = db.Close()
	}
}

// A query that is not kept takes no memory.
func TestSQLAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector lets pools forget")
	}
	var seen context.Context
	database := newFake(func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			noteContext
		}{c, noteContext{&seen}}
	})
	allocs := map[string]float64{}
	for mode, open := range map[string]func(driver.Connector) *sql.DB{"bare": sql.OpenDB, "instrumented": OpenDB} {
		running.Store(nil)
		s, _ := start(t, Options{Sampler: core.NewByThreshold(0), NoRuntime: true})
		ctx, root := s.TracerProvider().Tracer("t").Start(t.Context(), "root")
		db := open(database)
		allocs[mode] = testing.AllocsPerRun(1000, func() {
			if _, err := db.ExecContext(ctx, "UPDATE t SET a = 1 WHERE b = 2"); err != nil {
				t.Fatal(err)
			}
		})
		root.End()
		_ = db.Close()
		_ = s.Shutdown(t.Context())
	}
	if allocs["instrumented"] > allocs["bare"] {
		t.Errorf("allocations of a query: %v", allocs)
	}
}

type noteContext struct{ to *context.Context }

func (n noteContext) ExecContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Result, error) {
	*n.to = ctx
	return driver.ResultNoRows, nil
}

// A dead connection is a failure unless another one is taken.
func TestSQLBadConnections(t *testing.T) {
	s, _ := start(t, Options{Sampler: core.NewByThreshold(0)})
	f := newFake(drivers["most"])
	db := OpenDB(f)
	defer db.Close()
	kept := func(want uint64, what string) {
		t.Helper()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.pipe.Stats().Sent; n != want {
			t.Errorf("%s: %d failures so far, want %d", what, n, want)
		}
	}
	exec := func() error { _, err := db.Exec("UPDATE t SET a = 1"); return err }
	f.fail("exec", driver.ErrBadConn)
	if err := exec(); err != nil {
		t.Error(err)
	}
	kept(1, "a new connection that is dead")
	f.fail("exec", driver.ErrBadConn)
	if err := exec(); err != nil {
		t.Error(err)
	}
	kept(1, "one of the pool that is dead")
	f.fail("exec", driver.ErrBadConn, driver.ErrBadConn, driver.ErrBadConn)
	if err := exec(); !errors.Is(err, driver.ErrBadConn) {
		t.Errorf("error %v", err)
	}
	kept(3, "one of the pool and two new ones")
	if err := exec(); err != nil {
		t.Error(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	f.fail("exec", driver.ErrBadConn)
	if _, err := tx.Exec("UPDATE t SET a = 1"); !errors.Is(err, driver.ErrBadConn) {
		t.Errorf("error %v", err)
	}
	kept(4, "in a transaction")
	_ = tx.Rollback()
}

// What panics in a driver is a failure and goes on as it would.
func TestSQLPanics(t *testing.T) {
	for _, share := range []float64{0, 1} {
		s, sink := start(t, Options{Sampler: core.NewByThreshold(share)})
		f := newFake(drivers["most"])
		db := OpenDB(f)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Raw(func(raw any) error {
			ctx := t.Context()
			stmt, err := raw.(driver.ConnPrepareContext).PrepareContext(ctx, "UPDATE a SET b = 1")
			tx, err2 := raw.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			for call, do := range map[string]func(){
				"exec":            func() { _, _ = raw.(driver.ExecerContext).ExecContext(ctx, "DELETE FROM t", nil) },
				"query":           func() { _, _ = raw.(driver.QueryerContext).QueryContext(ctx, "SELECT 1", nil) },
				"ping":            func() { _ = raw.(driver.Pinger).Ping(ctx) },
				"prepare":         func() { _, _ = raw.(driver.ConnPrepareContext).PrepareContext(ctx, "SELECT 2") },
				"begin":           func() { _, _ = raw.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{}) },
				"commit":          func() { _ = tx.Commit() },
				"statement exec":  func() { _, _ = stmt.(driver.StmtExecContext).ExecContext(ctx, nil) },
				"statement query": func() { _, _ = stmt.(driver.StmtQueryContext).QueryContext(ctx, nil) },
				"connect":         func() { _, _ = (&sqlConnector{Connector: f, db: &sqlDB{}}).Connect(ctx) },
			} {
				f.fail(call, errToPanic)
				func() {
					defer func() {
						if p := recover(); p != errToPanic {
							t.Errorf("%s: panic %v", call, p)
						}
					}()
					do()
				}()
			}
			return nil
		})
		got := sent(t, s, sink)
		if n := strings.Count(got["/v1/traces"], "error.type"); n != 9 || !strings.Contains(got["/v1/traces"], "panic") {
			t.Errorf("share %v: %d spans of panics, want 9", share, n)
		}
		if !strings.Contains(got["/v1/metrics"], "panic") {
			t.Error("panics are not counted")
		}
		_ = conn.Close()
		_ = db.Close()
	}
}

// The pool of a database is reported by the SDK that runs, until it is closed.
func TestSQLPool(t *testing.T) {
	before := len(dbPools.all)
	db := SQL{Pool: "first"}.OpenDB(newFake(drivers["most"]))
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	s, sink := start(t, Options{})
	count := func() int {
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := -1
		for len(sink.bodies) > 0 {
			if b := <-sink.bodies; b.path == "/v1/metrics" {
				n = strings.Count(b.body, "first")
			}
		}
		return n
	}
	if n := count(); n != 5 { // used, idle, and closed for three reasons
		t.Errorf("%d series of the pool, want 5", n)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if len(dbPools.all) != before {
		t.Errorf("%d pools are observed, want %d as before", len(dbPools.all), before)
	}
	n := 3
	stop := ObserveConnections("second", func() ConnectionStats {
		return ConnectionStats{Used: n, Waits: int64(n), WaitTime: time.Second, Timeouts: 1, Pending: 1, IdleMin: 1, IdleMax: 2, Closed: map[string]int64{"stale": 1}}
	})
	m := s.meter(scopeOfSDK, Version)
	value := func(metric, state string) int64 {
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for p := range dbPools.all {
			if v, ok := p.told[toldKey{metric, state}]; ok && p.meter == m {
				return int64(v)
			}
		}
		return -1
	}
	for _, n = range []int{3, 5, 1} {
		if got := value("db.client.connection.count", "used"); got != int64(n) {
			t.Errorf("%d connections are used, want %d", got, n)
		}
	}
	stop()
	stop()
	defer ObserveConnections("third", func() ConnectionStats { panic("oh") })()
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

// A pool that never says how it is holds up nothing but metrics.
func TestSQLPoolThatIsStuck(t *testing.T) {
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "1")
	s, _ := start(t, Options{NoRuntime: true})
	asked, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	stop := ObserveConnections("stuck", func() ConnectionStats {
		asked <- struct{}{}
		<-release
		return ConnectionStats{}
	})
	<-asked
	done := make(chan error)
	go func() {
		db := OpenDB(newFake(drivers["most"]))
		_ = db.Ping()
		err := errors.Join(s.Flush(t.Context()), db.Close())
		stop()
		done <- err
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	for _, what := range []string{"to open, collect and close", "to shut down"} {
		select {
		case err := <-done:
			if late := what == "to shut down"; errors.Is(err, context.DeadlineExceeded) != late {
				t.Errorf("%s: error %v", what, err)
			}
		case <-time.After(time.Minute):
			t.Fatal("waits for the pool " + what)
		}
	}
}

func TestSystemOf(t *testing.T) {
	for name, want := range map[string]string{"pgx": "postgresql", "mysql": "mysql", "sqlite3": "sqlite", "sqlserver": "microsoft.sql_server", "nobody": "other_sql", "": "other_sql"} {
		if got := systemOf(newFake(nil), name); got != want {
			t.Errorf("driver %q is of %q, want %q", name, got, want)
		}
	}
}

func TestReadDSN(t *testing.T) {
	f := func(system, dsn, server, namespace string) {
		t.Helper()
		if s, n := readDSN(system, dsn); s != server || n != namespace {
			t.Errorf("%q is server %q and namespace %q, want %q and %q", dsn, s, n, server, namespace)
		}
	}
	f("postgresql", "postgres://u:hunter2@db:5432/shop?sslmode=disable", "db:5432", "shop")
	f("postgresql", "host=db port=5433 user=u password=hunter2 dbname=shop", "db:5433", "shop")
	f("postgresql", "host=db password='hunter2 host=x' dbname=shop", "db", "shop")
	f("postgresql", "user=u password=h@nter2 dbname=shop", "", "shop")
	f("postgresql", "host=/run/postgresql dbname=shop", "/run/postgresql", "shop")
	f("mysql", "u:hunter2@tcp(db:3306)/shop?parseTime=true", "db:3306", "shop")
	f("mysql", "u:p@ss/w@unix(/run/mysqld/mysqld.sock)/shop", "/run/mysqld/mysqld.sock", "shop")
	f("mysql", "/shop", "", "shop")
	f("mysql", "u@/shop", "", "shop")
	f("microsoft.sql_server", "sqlserver://u:hunter2@db:1433/inst?database=shop", "db:1433", "inst|shop")
	f("microsoft.sql_server", "server=db;user id=u;password=hunter2;port=1433;database=shop", "db:1433", "shop")
	f("sqlite", "file:/var/lib/x/shop.db?cache=shared", "", "shop.db")
	f("sqlite", ":memory:", "", ":memory:")
	f("postgresql", "host=db user=u password=p@ss sslmode=verify-full sslrootcert=/etc/ssl/ca.pem dbname=shop", "db", "shop")
	f("postgresql", "host=db password=p@s/S3cret dbname=shop", "db", "shop")
	f("postgresql", "host=db password=a@b)c dbname = 'shop'", "db", "shop")
	f("postgresql", `host=db password='it\'s host=S3cret' dbname=shop`, "", "")
	f("postgresql", `host=db password=a\ host=S3cret dbname=shop`, "", "")
	f("postgresql", "host=db password=a;host=S3cret dbname=shop", "db", "shop")
	f("postgresql", "postgres://u:12/S3cret@db/shop", "", "")
	f("postgresql", "postgres://u:12?S3cret@db/shop", "", "")
	f("postgresql", "postgres://u:S3%cret@db/shop", "", "")
	f("postgresql", "postgres://a:1,b:2/shop", "a:1,b:2", "shop")
	f("oracle.db", `user="scott" password="ti@ger" connectString="db:1521/x"`, "db:1521", "x")
	f("oracle.db", "scott/ti/g@er@db:1521/x", "db:1521", "x")
	f("oracle.db", "scott/tiger@//db/x", "db", "x")
	f("oracle.db", "scott/tiger", "", "")
	f("mysql", "u:p?h@nter2@tcp(db:3306)/shop", "", "")
	f("mysql", "u:p@tcp(db:3306)/shop?x=a@hunter2", "", "")
	f("mysql", "u:/@tcp(db)/shop", "db", "shop")
	f("mysql", "u://hun/ter@tcp(db)/shop", "", "")
	f("microsoft.sql_server", "server=db;password=a host=S3cret;database=shop", "db", "shop")
	f("microsoft.sql_server", "server=db;password={a;server=S3cret};database=shop", "db", "shop")
	f("microsoft.sql_server", "odbc:server=db;password=S3@cret", "", "")
	f("microsoft.sql_server", "sqlserver://db;password=S3cret", "", "")
	f("microsoft.sql_server", "sqlserver://db/x;password=S3cret", "db", "")
	f("other_sql", "server=db;password=x;database=shop", "", "")
	f("other_sql", "://%", "", "")
	f("other_sql", "", "", "")
}

// FuzzReadDSN looks for a password in what is read, whatever it is, as far as a
// driver takes it so.
func FuzzReadDSN(f *testing.F) {
	for _, password := range []string{"hunter2", "p@ss", "p@s/S3cret", "a@b)c", "a b", "a;server=b", "a host=b", "'", `"`, `\`, "://", "?@", "tcp(a)/", "}", "#", "%"} {
		f.Add(password)
	}
	f.Fuzz(func(t *testing.T, password string) {
		readDSN("sqlite", password)
		readDSN("other_sql", password)
		readDSN("postgresql", password)
		hostPort(password)
		const mark = "S3cret"
		for _, secret := range []string{password + mark, mark + password, password + mark + password} {
			if strings.ContainsRune(secret, 0) {
				continue
			}
			forms := map[string]string{
				"mysql": "u:" + secret + "@tcp(db:3306)/shop", "oracle.db": "scott/" + secret + "@db:1521/shop", "other_sql": "u:" + secret + "@db/shop?a=b",
				"postgresql":           "host=db password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(secret) + "' dbname=shop",
				"aws.redshift":         "postgres://u:" + secret + "@db:5432/shop",
				"microsoft.sql_server": "odbc:server=db;password={" + strings.ReplaceAll(secret, "}", "}}") + "};database=shop",
			}
			if !strings.ContainsAny(secret, " \t\r\n\v\f'\\\u00a0\u0085") {
				forms["cockroachdb"] = "user=u password=" + secret + " host=db dbname=shop"
			}
			if !strings.ContainsAny(secret, `";`) {
				forms["ibm.db2"] = "HOSTNAME=db;PWD=" + secret + ";DATABASE=shop"
			}
			for system, dsn := range forms {
				if server, namespace := readDSN(system, dsn); strings.Contains(server+namespace, mark) {
					t.Errorf("%s: %q shows the password: server %q, namespace %q", system, dsn, server, namespace)
				}
			}
		}
	})
}
