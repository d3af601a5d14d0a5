package event

import (
	"context"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/storetest"
)

// rowStore writes rows straight into the engine, without a journal: it holds
// codecs and reads to the treaty.
type rowStore struct{ *reader }

func newRowStore(t testing.TB) rowStore {
	return rowStore{newReader(openTestStorage(t), openTestStorage(t), newTestSpanCodec(t), newLogCodec(testRetention, newTail()))}
}

func (s rowStore) WriteTraces(_ context.Context, tenant store.Tenant, td ptrace.Traces) error {
	payload, err := new(ptrace.ProtoMarshaler).MarshalTraces(td)
	if err != nil {
		return err
	}
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	defer logstorage.PutLogRows(lr)
	if _, _, err := s.spanRows.appendRows(lr, tenant, payload, time.Now()); err != nil {
		return err
	}
	s.traces.MustAddRows(lr)
	return nil
}

func (s rowStore) WriteLogs(_ context.Context, tenant store.Tenant, ld plog.Logs) error {
	payload, err := new(plog.ProtoMarshaler).MarshalLogs(ld)
	if err != nil {
		return err
	}
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	defer logstorage.PutLogRows(lr)
	if _, _, err := s.logRows.appendRows(lr, tenant, payload, time.Now()); err != nil {
		return err
	}
	s.logs.MustAddRows(lr)
	return nil
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store { return newRowStore(t) })
}
