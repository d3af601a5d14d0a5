package sdk

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"reflect"
	"strings"
	"unique"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/internal/sqltext"
)

// SQL instruments database/sql: a span for each query, statement and step of a
// transaction, the histogram db.client.operation.duration of all of them, and
// the metrics of the pool of connections. It follows OpenTelemetry's stable
// semantic conventions for databases. The zero value works; it says what cannot
// be learnt from the driver and its data source name.
//
// What it gives does what database/sql gives: the same results, errors and
// retries, whatever the driver can and cannot do. It follows the SDK that runs
// when a query is made, so a database may be opened before Start.
//
// A span ends when the database has answered; reading the rows is the caller's
// time. Failures are all kept, but not what is none: driver.ErrSkip,
// sql.ErrNoRows, and a connection of the pool that is found dead, as database/sql
// takes another one.
type SQL struct {
	// System is db.system.name, for example "postgresql"; default: what the
	// driver is known for, else "other_sql". What is a value in a query depends
	// on it.
	System string
	// Server is the address of the server, as host:port or host; default: what
	// Open finds in the data source name.
	Server string
	// Namespace is the name of the database; default as for Server.
	Namespace string
	// Pool is the name of the pool in metrics; default server/namespace.
	Pool string
	// HideText leaves db.query.text out, which has a ? for every value.
	HideText bool
}

// OpenDB is sql.OpenDB with instrumentation.
func OpenDB(c driver.Connector) *sql.DB { return SQL{}.OpenDB(c) }

// OpenSQL is sql.Open with instrumentation: in most programs the only change that
// is needed.
func OpenSQL(driverName, dataSourceName string) (*sql.DB, error) {
	return SQL{}.Open(driverName, dataSourceName)
}

// Open is sql.Open with instrumentation.
func (o SQL) Open(driverName, dataSourceName string) (*sql.DB, error) {
	plain, err := sql.Open(driverName, dataSourceName) // the only way to a driver by its name
	if err != nil {
		return nil, err
	}
	d := plain.Driver()
	if err := plain.Close(); err != nil {
		return nil, err
	}
	if o.System == "" {
		o.System = systemOf(d, driverName)
	}
	o.read(dataSourceName)
	if opener, ok := d.(driver.DriverContext); ok {
		c, err := opener.OpenConnector(dataSourceName)
		if err != nil {
			return nil, err
		}
		return o.OpenDB(c), nil
	}
	return o.OpenDB(&dsnConnector{dataSourceName, d}), nil
}

// read takes from a data source name what is not known.
func (o *SQL) read(dataSourceName string) {
	server, namespace := readDSN(o.System, dataSourceName)
	if o.Server == "" {
		o.Server = server
	}
	if o.Namespace == "" {
		o.Namespace = namespace
	}
}

// dsnConnector is for drivers that have none.
type dsnConnector struct {
	dsn    string
	driver driver.Driver
}

func (c *dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c *dsnConnector) Driver() driver.Driver                        { return c.driver }

// OpenDB is sql.OpenDB with instrumentation.
func (o SQL) OpenDB(c driver.Connector) *sql.DB {
	wrapped := o.connector(c)
	db := sql.OpenDB(wrapped)
	wrapped.observe(db)
	return db
}

// connector instruments c.
func (o SQL) connector(c driver.Connector) *sqlConnector {
	if o.System == "" {
		o.System = systemOf(c.Driver(), "")
	}
	return &sqlConnector{Connector: c, db: o.database()}
}

// database is what the connections to a database of a known system share.
func (o SQL) database() *sqlDB {
	host, port := hostPort(o.Server)
	target := sqlTarget{o.System, o.Namespace, host, int(port)}
	if o.Pool == "" {
		if o.Pool = strings.Trim(o.Server+"/"+o.Namespace, "/"); o.Pool == "" {
			o.Pool = o.System
		}
	}
	return &sqlDB{target: unique.Make(target), attrs: target.attrs(nil), pool: o.Pool, queries: sqltext.NewCache(o.System), hideText: o.HideText}
}

// observe reports the pool of a database.
func (c *sqlConnector) observe(db *sql.DB) {
	c.stop = ObserveConnections(c.db.pool, func() ConnectionStats { return poolOf(db.Stats()) })
}

func poolOf(s sql.DBStats) ConnectionStats {
	return ConnectionStats{
		Used: s.InUse, Idle: s.Idle, Max: s.MaxOpenConnections, Waits: s.WaitCount, WaitTime: s.WaitDuration,
		Closed: map[string]int64{"max_idle": s.MaxIdleClosed, "idle_time": s.MaxIdleTimeClosed, "lifetime": s.MaxLifetimeClosed},
	}
}

// DriverConn is the driver's own connection of what sql.Conn.Raw gives, whether
// it is instrumented or not.
func DriverConn(raw any) any {
	if c, ok := raw.(interface{ Raw() driver.Conn }); ok {
		return c.Raw()
	}
	return raw
}

// sqlTarget is what the series of all operations on a database have in common.
type sqlTarget struct {
	system, namespace, host string
	port                    int
}

func (t sqlTarget) attrs(to []core.Attr) []core.Attr {
	to = append(to, core.String("db.system.name", t.system))
	if t.namespace != "" {
		to = append(to, core.String("db.namespace", t.namespace))
	}
	if t.host != "" {
		to = append(to, core.String("server.address", t.host))
		if t.port != 0 {
			to = append(to, core.Int("server.port", int64(t.port)))
		}
	}
	return to
}

// sqlDB is what the connections to one database share.
type sqlDB struct {
	target   unique.Handle[sqlTarget]
	attrs    []core.Attr // of target
	pool     string
	queries  *sqltext.Cache
	hideText bool
}

// sqlConnector opens instrumented connections.
type sqlConnector struct {
	driver.Connector
	db   *sqlDB
	stop func() // of observing the pool
}

// connectKey is what the series of the opening of connections depends on.
type connectKey struct{ pool, failure string }

func (k connectKey) attrs() []core.Attr {
	attrs := []core.Attr{core.String("db.client.connection.pool.name", k.pool)}
	if k.failure != "" {
		attrs = append(attrs, core.String("error.type", k.failure))
	}
	return attrs
}

var sqlConnects = NewOperations(OperationOptions[connectKey]{
	Scope: scopeOfSDK, Kind: core.KindClient, Bounds: databaseBounds,
	Metric: "db.client.connection.create_time", Description: "The time it took to create a new connection.", Attrs: connectKey.attrs,
})

// Connect implements driver.Connector.
func (c *sqlConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.connect(ctx)
	if err != nil || conn == nil {
		return conn, err
	}
	return c.db.wrap(conn), nil
}

func (c *sqlConnector) connect(ctx context.Context) (conn driver.Conn, err error) {
	err = c.db.connect(ctx, func(ctx context.Context) (err error) {
		conn, err = c.Connector.Connect(ctx)
		return err
	})
	return conn, err
}

// connect instruments the opening of a connection.
func (db *sqlDB) connect(ctx context.Context, open func(context.Context) error) (err error) {
	op := sqlConnects.Start(ctx, "CONNECT")
	defer func() { db.connected(op, err) }()
	err = errPanicked
	err = open(op.Ctx())
	return err
}

// connected ends the opening of a connection.
func (db *sqlDB) connected(op *Operation[connectKey], err error) {
	failure, status := sqlFailure(err)
	if op.Finish(failure) {
		op.Span().SetAttrs(db.attrs...)
		op.Span().SetAttr(core.String("db.operation.name", "CONNECT"))
		tellStatus(op.Span(), status) // and no text, which may have the data source name
	}
	op.End(connectKey{db.pool, failure})
}

// Close implements io.Closer: sql.DB calls it last.
func (c *sqlConnector) Close() error {
	c.stop()
	if inner, ok := c.Connector.(io.Closer); ok {
		return inner.Close()
	}
	return nil
}

// systems are the databases of well-known drivers, by a part of the name or the
// import path of the driver. The first that fits counts.
var systems = [...]struct{ part, system string }{
	{"sqlite", "sqlite"}, {"cockroach", "cockroachdb"}, {"redshift", "aws.redshift"}, {"pgx", "postgresql"}, {"postgres", "postgresql"}, {"lib/pq", "postgresql"},
	{"mariadb", "mariadb"}, {"mysql", "mysql"}, {"mssql", "microsoft.sql_server"}, {"sqlserver", "microsoft.sql_server"}, {"godror", "oracle.db"}, {"go-ora", "oracle.db"}, {"oracle", "oracle.db"}, {"oci8", "oracle.db"},
	{"clickhouse", "clickhouse"}, {"snowflake", "snowflake"}, {"trino", "trino"}, {"spanner", "gcp.spanner"}, {"firebird", "firebirdsql"}, {"go_ibm_db", "ibm.db2"}, {"hdb", "sap.hana"}, {"duckdb", "duckdb"},
}

// systemOf guesses db.system.name.
func systemOf(d driver.Driver, name string) string {
	t := reflect.TypeOf(d)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	path := ""
	if t != nil {
		path = t.PkgPath() + "." + t.Name()
	}
	for _, where := range [...]string{path, name} {
		where = strings.ToLower(where)
		for _, s := range systems {
			if strings.Contains(where, s.part) {
				return s.system
			}
		}
	}
	return "other_sql"
}
