// Package storeexporter ends pipelines in Guanlan's store. It adds no queue
// and no retry of its own: a nil answer means that the batch is durable, and
// the sender hears it.
package storeexporter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/xexporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pprofile"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/guanlan-io/guanlan/collector/storeextension"
	translate "github.com/guanlan-io/guanlan/internal/pprofile"
	"github.com/guanlan-io/guanlan/internal/semconv"
	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/metric"
	"github.com/guanlan-io/guanlan/internal/store/profile"
)

// retryAfter is what a refused sender is told to wait. A full disk or queue
// is looked at several times a second, so that one second is enough.
const retryAfter = time.Second

// Config is the YAML of the exporter and of the processor.
type Config struct {
	// Store names the extension that holds the data (default "store").
	Store component.ID `mapstructure:"store"`
}

// NewFactory returns the factory of the store exporter.
func NewFactory() exporter.Factory {
	return xexporter.NewFactory(
		component.MustNewType("store"),
		defaultConfig,
		xexporter.WithTraces(func(_ context.Context, _ exporter.Settings, c component.Config) (exporter.Traces, error) {
			return &sink{config: c.(*Config)}, nil
		}, component.StabilityLevelBeta),
		xexporter.WithLogs(func(_ context.Context, _ exporter.Settings, c component.Config) (exporter.Logs, error) {
			return &sink{config: c.(*Config)}, nil
		}, component.StabilityLevelBeta),
		xexporter.WithMetrics(func(_ context.Context, _ exporter.Settings, c component.Config) (exporter.Metrics, error) {
			return &sink{config: c.(*Config)}, nil
		}, component.StabilityLevelBeta),
		xexporter.WithProfiles(func(_ context.Context, _ exporter.Settings, c component.Config) (xexporter.Profiles, error) {
			return &sink{config: c.(*Config)}, nil
		}, component.StabilityLevelBeta),
	)
}

func defaultConfig() component.Config { return &Config{Store: component.MustNewID("store")} }

// sink is the end of a pipeline.
type sink struct {
	config *Config
	store  storeextension.Store
}

func (s *sink) Start(_ context.Context, host component.Host) (err error) {
	s.store, err = storeextension.Find(host, s.config.Store)
	return err
}

func (s *sink) Shutdown(context.Context) error { return nil }

func (s *sink) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *sink) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	tenant, err := tenantOf(ctx)
	if err == nil {
		err = s.store.Events().WriteTraces(ctx, tenant, td)
	}
	return answer(err)
}

func (s *sink) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	tenant, err := tenantOf(ctx)
	if err == nil {
		err = s.store.Events().WriteLogs(ctx, tenant, ld)
	}
	return answer(err)
}

func (s *sink) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	tenant, err := tenantOf(ctx)
	if err == nil {
		err = s.store.Metrics().Write(ctx, tenant, md)
	}
	// Part of the batch is kept, so that an error would be wrong; what is not
	// is counted by reason (guanlan.metrics.rejected) and shown by the status.
	if partial := (*metric.PartialError)(nil); errors.As(err, &partial) {
		return nil
	}
	return answer(err)
}

func (s *sink) ConsumeProfiles(ctx context.Context, pd pprofile.Profiles) error {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return answer(err)
	}
	found, err := translate.ToPprof(pd)
	if err != nil {
		return answer(fmt.Errorf("%w: %w", store.ErrInvalid, err))
	}
	profiles := make([]profile.New, len(found))
	for i, p := range found {
		profiles[i] = profile.New{Resource: p.Resource, Kind: p.Kind, Pprof: p.Pprof}
	}
	_, err = s.store.Profiles().Write(ctx, tenant, profiles)
	return answer(err)
}

func tenantOf(ctx context.Context) (store.Tenant, error) {
	values := client.FromContext(ctx).Metadata.Get(semconv.TenantHeader)
	switch len(values) {
	case 0:
		return store.Tenant{}, nil
	case 1:
		return store.ParseTenant(values[0])
	}
	return store.Tenant{}, fmt.Errorf("X-Scope-OrgID given %d times: send it once: %w", len(values), store.ErrInvalid)
}

// answer turns the store's errors into what OTLP senders understand: retry
// after a moment, or give up.
func answer(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUnavailable):
		st := status.New(codes.Unavailable, err.Error())
		if detailed, derr := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)}); derr == nil {
			st = detailed
		}
		return st.Err()
	case errors.Is(err, store.ErrInvalid):
		return consumererror.NewPermanent(status.Error(codes.InvalidArgument, err.Error()))
	default:
		return err
	}
}
