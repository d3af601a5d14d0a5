package event

import (
	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

func tenantID(t store.Tenant) logstorage.TenantID {
	return logstorage.TenantID{AccountID: t.Account, ProjectID: t.Project}
}
