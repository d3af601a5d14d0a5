//go:build guanlan_woven

package pgx

import (
	"context"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/guanlan-io/guanlan/sdk"
)

// GuanlanQuiet is the configuration of a connection that database/sql holds, which
// is told of there.
func GuanlanQuiet(c *ConnConfig) *ConnConfig {
	c = c.Copy()
	c.guanlanQuiet = true
	return c
}

// GuanlanDatabase is what connections of this configuration belong to.
func GuanlanDatabase(c *ConnConfig) *sdk.Database {
	server, namespace := GuanlanTarget(c)
	return sdk.SQL{System: "postgresql", Server: server, Namespace: namespace}.Database()
}

// GuanlanTarget is the server and the database that they go to.
func GuanlanTarget(c *ConnConfig) (server, namespace string) {
	if !strings.HasPrefix(c.Host, "/") && c.Host != "" && c.Port != 0 {
		return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), c.Database
	}
	return c.Host, c.Database
}

// guanlanConnect opens the connection of c, whose calls are told of from then on,
// around what the program has for that.
func guanlanConnect(ctx context.Context, c *Conn, config *ConnConfig) (pc *pgconn.PgConn, err error) {
	if config.guanlanQuiet {
		return pgconn.ConnectConfig(ctx, &config.Config)
	}
	db := GuanlanDatabase(config)
	t := &guanlanTracer{db, c.queryTracer, c.batchTracer, c.copyFromTracer, c.prepareTracer}
	c.queryTracer, c.batchTracer, c.copyFromTracer, c.prepareTracer = t, t, t, t
	err = db.Connect(ctx, func(ctx context.Context) (err error) {
		pc, err = pgconn.ConnectConfig(ctx, &config.Config)
		return err
	})
	return pc, err
}

// guanlanTracer tells of the calls of connections, and has the program's own tracers
// within.
type guanlanTracer struct {
	db      *sdk.Database
	query   QueryTracer
	batch   BatchTracer
	copy    CopyFromTracer
	prepare PrepareTracer
}

// guanlanCall is a context with the call that it is of.
type guanlanCall struct {
	context.Context
	call *sdk.DatabaseCall
}

type guanlanCallKey struct{}

func (c *guanlanCall) Value(key any) any {
	if key == (guanlanCallKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func guanlanWith(call *sdk.DatabaseCall) context.Context {
	return &guanlanCall{call.Ctx(), call}
}

func guanlanEnd(ctx context.Context, err error) {
	if c, ok := ctx.Value(guanlanCallKey{}).(*guanlanCall); ok {
		c.call.End(err)
	}
}

// guanlanText is what was prepared under a name.
func guanlanText(c *Conn, sql string) string {
	if sd, ok := c.preparedStatements[sql]; ok && sd != nil {
		return sd.SQL
	}
	return sql
}

func (t *guanlanTracer) TraceQueryStart(ctx context.Context, c *Conn, data TraceQueryStartData) context.Context {
	ctx = guanlanWith(t.db.Query(ctx, guanlanText(c, data.SQL)))
	if t.query != nil {
		ctx = t.query.TraceQueryStart(ctx, c, data)
	}
	return ctx
}

func (t *guanlanTracer) TraceQueryEnd(ctx context.Context, c *Conn, data TraceQueryEndData) {
	if t.query != nil {
		t.query.TraceQueryEnd(ctx, c, data)
	}
	guanlanEnd(ctx, data.Err)
}

func (t *guanlanTracer) TraceBatchStart(ctx context.Context, c *Conn, data TraceBatchStartData) context.Context {
	var queries []string
	if data.Batch != nil {
		for _, q := range data.Batch.QueuedQueries {
			queries = append(queries, guanlanText(c, q.SQL))
		}
	}
	ctx = guanlanWith(t.db.Batch(ctx, queries))
	if t.batch != nil {
		ctx = t.batch.TraceBatchStart(ctx, c, data)
	}
	return ctx
}

func (t *guanlanTracer) TraceBatchQuery(ctx context.Context, c *Conn, data TraceBatchQueryData) {
	if t.batch != nil {
		t.batch.TraceBatchQuery(ctx, c, data)
	}
}

func (t *guanlanTracer) TraceBatchEnd(ctx context.Context, c *Conn, data TraceBatchEndData) {
	if t.batch != nil {
		t.batch.TraceBatchEnd(ctx, c, data)
	}
	guanlanEnd(ctx, data.Err)
}

func (t *guanlanTracer) TraceCopyFromStart(ctx context.Context, c *Conn, data TraceCopyFromStartData) context.Context {
	ctx = guanlanWith(t.db.Step(ctx, "COPY", strings.Join(data.TableName, "."), ""))
	if t.copy != nil {
		ctx = t.copy.TraceCopyFromStart(ctx, c, data)
	}
	return ctx
}

func (t *guanlanTracer) TraceCopyFromEnd(ctx context.Context, c *Conn, data TraceCopyFromEndData) {
	if t.copy != nil {
		t.copy.TraceCopyFromEnd(ctx, c, data)
	}
	guanlanEnd(ctx, data.Err)
}

// A statement that is prepared for a query is a part of that.
func (t *guanlanTracer) TracePrepareStart(ctx context.Context, c *Conn, data TracePrepareStartData) context.Context {
	if known, ok := c.preparedStatements[data.Name]; ctx.Value(guanlanCallKey{}) == nil && !(ok && data.Name != "" && known.SQL == data.SQL) {
		ctx = guanlanWith(t.db.Step(ctx, "PREPARE", "", data.SQL))
	} else {
		ctx = &guanlanCall{ctx, new(sdk.DatabaseCall)} // whose end is nothing
	}
	if t.prepare != nil {
		ctx = t.prepare.TracePrepareStart(ctx, c, data)
	}
	return ctx
}

func (t *guanlanTracer) TracePrepareEnd(ctx context.Context, c *Conn, data TracePrepareEndData) {
	if t.prepare != nil {
		t.prepare.TracePrepareEnd(ctx, c, data)
	}
	guanlanEnd(ctx, data.Err)
}
