package query

import (
	"context"

	"github.com/guanlan-io/guanlan/internal/store"
)

// tenantKey is the context key of WithTenant.
type tenantKey struct{}

// WithTenant returns a context whose questions are about t's data. Without it
// they are about the default tenant's.
func WithTenant(ctx context.Context, t store.Tenant) context.Context {
	return context.WithValue(ctx, tenantKey{}, t)
}

// TenantOf returns the tenant that WithTenant put in ctx, else the default.
func TenantOf(ctx context.Context) store.Tenant {
	t, _ := ctx.Value(tenantKey{}).(store.Tenant)
	return t
}
