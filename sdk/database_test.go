package sdk

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestDatabase(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	o := SQL{System: "postgresql", Server: "db:5432", Namespace: "shop"}
	db := o.Database()
	if o.Database() != db {
		t.Error("the same description gives another database")
	}
	if got, want := db.Pool(), "db:5432/shop"; got != want {
		t.Errorf("pool %q, want %q", got, want)
	}
	ctx, outer := s.TracerProvider().Tracer("t").Start(t.Context(), "outer")
	call := db.Query(ctx, "SELECT item FROM orders WHERE card = 4711")
	if sc := trace.SpanContextFromContext(call.Ctx()); sc.TraceID() != outer.SpanContext().TraceID() || sc.SpanID() == outer.SpanContext().SpanID() {
		t.Errorf("called in %v, want a child of %v", sc, outer.SpanContext())
	}
	call.End(sql.ErrNoRows)
	call.End(errors.New("a second end is none"))
	db.Query(ctx, "begin isolation level serializable").End(nil)
	db.Batch(ctx, []string{"INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (2)"}).End(nil)
	db.Batch(ctx, []string{"DELETE FROM c WHERE n = 0815"}).End(nil)
	db.Batch(ctx, nil).End(nil)
	db.Step(ctx, "COPY", "orders", "").End(nil)
	db.Do(ctx, "find", "invoices").End(context.Canceled)
	thrown := caught(func() error {
		return db.Connect(ctx, func(context.Context) error { panic("no") })
	})
	if thrown == nil {
		t.Error("a panic does not pass")
	}
	outer.End()

	got := sent(t, s, sink)
	for _, want := range []string{"SELECT orders", "SELECT item FROM orders WHERE card = ?", "BEGIN", "BATCH INSERT", "INSERT INTO a VALUES (?); INSERT INTO b VALUES (?)", "db.operation.batch.size",
		"DELETE c", "COPY orders", "find invoices", "canceled", "CONNECT", "panic"} {
		if !strings.Contains(got["/v1/traces"], want) {
			t.Errorf("%q is in no span", want)
		}
	}
	for _, never := range []string{"4711", "0815", "a second end", "isolation"} {
		if strings.Contains(got["/v1/traces"], never) {
			t.Errorf("%q is in a span", never)
		}
	}
	if strings.Contains(got["/v1/traces"], "sql: no rows") {
		t.Error("that there are no rows is told of as a failure")
	}
	for _, want := range []string{"db.client.operation.duration", "db.client.connection.create_time", "BATCH INSERT", "invoices"} {
		if !strings.Contains(got["/v1/metrics"], want) {
			t.Errorf("%q is in no metric", want)
		}
	}
}

// What a program makes up does not grow without end.
func TestDatabaseIsBounded(t *testing.T) {
	start(t, Options{Sampler: core.NewByThreshold(0)})
	db := SQL{System: "mongodb", Namespace: "bounded"}.Database()
	for i := range 2 * maxShapes {
		db.Do(t.Context(), "find", fmt.Sprint("made-up-", i)).End(nil)
	}
	if n := len(db.shapes); n > maxShapes+1 {
		t.Errorf("%d shapes", n)
	}
	for i := range 2 * maxDatabases {
		SQL{System: "mongodb", Namespace: fmt.Sprint("made-up-", i)}.Database()
	}
	databases.mu.Lock()
	defer databases.mu.Unlock()
	if n := len(databases.all); n > maxDatabases {
		t.Errorf("%d databases", n)
	}
}

func TestDatabaseWithoutSDK(t *testing.T) {
	running.Store(nil)
	db := SQL{System: "postgresql"}.Database()
	for _, call := range []*DatabaseCall{db.Query(t.Context(), "SELECT 1"), db.Batch(t.Context(), []string{"SELECT 1"}), db.Do(t.Context(), "find", "a"), {}} {
		call.SetAttr(core.String("k", "v"))
		call.End(errors.New("no"))
	}
	no := errors.New("no")
	if err := db.Connect(t.Context(), func(context.Context) error { return no }); err != no {
		t.Errorf("connect: %v", err)
	}
}
