package event

import (
	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

type tail struct{}

func (t *tail) offer(tenant store.Tenant, at int64, fields []logstorage.Field) {}

func newTail() *tail { return &tail{} }
