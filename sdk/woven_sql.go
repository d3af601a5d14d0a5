//go:build guanlan_woven

package sdk

import (
	"database/sql"
	"database/sql/driver"
)

// A woven database/sql opens connections through the SDK that runs.
func init() {
	sql.Guanlan.Store(&sql.GuanlanHooks{Connector: connectorOf, Raw: ownConn})
}

// connectorOf instruments the connector of db, unless it is already.
func connectorOf(db *sql.DB, c driver.Connector, name, dsn string) (driver.Connector, func()) {
	if _, ours := c.(*sqlConnector); ours {
		return c, nil
	}
	o := SQL{System: systemOf(c.Driver(), name)}
	if dsn != "" {
		o.read(dsn)
	}
	if told, ok := c.(interface {
		GuanlanTarget() (server, namespace string)
	}); ok && dsn == "" { // of drivers that are woven
		o.Server, o.Namespace = told.GuanlanTarget()
	}
	with := o.connector(c)
	with.observe(db)
	return with, with.stop
}

// ownConn is the driver's own connection of an instrumented one.
func ownConn(conn any) any {
	if c, ours := conn.(interface{ instrumented() *sqlConn }); ours {
		return c.instrumented().Conn
	}
	return conn
}

func (c *sqlConn) instrumented() *sqlConn { return c }
