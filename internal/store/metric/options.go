package metric

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Options configures a Store. A zero field means the default it names.
type Options struct {
	// Dir holds one folder for each tenant. Required; created when missing.
	Dir string
	// Retention is the age beyond which blocks are deleted. Default 15 days.
	Retention time.Duration
	// MaxBytes bounds the disk space of all tenants together; above it the
	// oldest blocks go first, whoever owns them. The write-ahead logs count
	// but are never deleted for size. Default 0: no bound.
	MaxBytes int64
	// OutOfOrder is how far behind the newest sample of its tenant a sample
	// may arrive late. Default 30 minutes; negative: not at all.
	OutOfOrder time.Duration
	// MaxExemplars bounds the exemplars of one tenant, newest kept. They sit
	// in a ring in memory that is allocated when the tenant is opened, about
	// 80 bytes for each plus their labels. Default 20,000; negative: none.
	MaxExemplars int64
	// MinFree is the free disk space in bytes below which writes are refused.
	// Half as much is held in a reserve file that is given back to the disk
	// when it runs full, so that the store can close its files in good order.
	// Default 64 MiB.
	MinFree int64
	// QueryMemory bounds, in bytes, the samples that one query holds at a
	// time. Default 256 MiB.
	QueryMemory int64
	// QueryTimeout ends a query. Default 2 minutes.
	QueryTimeout time.Duration
	// MaxQueries is how many queries run at a time; others wait for their
	// turn until they time out. Default twice GOMAXPROCS, at least 4.
	MaxQueries int
	// Promote names the resource attributes that become labels of every
	// series, besides service.name and service.namespace (job) and
	// service.instance.id (instance). All others are on target_info. Default
	// DefaultPromote(); an empty non-nil slice: none.
	Promote []string
	// Logger receives what the operator should know. Default: discarded.
	Logger *slog.Logger
	// Registerer receives the metrics of the engine, labelled by tenant.
	// Default: none.
	Registerer prometheus.Registerer
}

// DefaultPromote returns the resource attributes that are promoted to labels
// by default: what people slice by when they look at a service. Each is
// constant for a process, so it adds no series.
func DefaultPromote() []string {
	return []string{
		"service.namespace",
		"service.version",
		"deployment.environment.name",
		"deployment.environment", // its name before semantic conventions 1.27
		"cloud.region",
		"cloud.availability_zone",
		"host.name",
		"k8s.cluster.name",
		"k8s.namespace.name",
		"k8s.deployment.name",
		"k8s.statefulset.name",
		"k8s.daemonset.name",
		"k8s.pod.name",
		"k8s.container.name",
		"k8s.node.name",
	}
}

const (
	defaultRetention    = 15 * 24 * time.Hour
	defaultOutOfOrder   = 30 * time.Minute
	defaultMaxExemplars = 20_000
	defaultMinFree      = 64 << 20
	defaultQueryMemory  = 256 << 20
	defaultQueryTimeout = 2 * time.Minute

	// MaxTenants bounds the tenants that one Store has open. Each costs one
	// write-ahead log, some memory (about 2 MiB idle) and a compaction
	// every two hours. Beyond it, ErrTenants.
	MaxTenants = 64

	// Lookback is how long an instant query sees the last sample of a series:
	// what every Prometheus dashboard and rule assumes.
	Lookback = 5 * time.Minute

	// maxAhead is how far in the future a sample may lie. One sample from a
	// clock that runs ahead moves the time below which all other series of the
	// tenant are "too old". Prometheus' own receivers use the same value.
	maxAhead = 10 * time.Minute

	// sampleBytes is the size of a float sample in the PromQL engine, whose
	// limit counts samples.
	sampleBytes = 16

	// maxLabels bounds the names and values of one series, in bytes. A label
	// that holds a query or a stack trace by mistake would stay in the index of
	// every block.
	maxLabels = 16 << 10

	// blockRange is how much time one new block holds; the head holds up to
	// one and a half of it in memory.
	blockRange = 2 * time.Hour
	// maxBlockRange bounds blocks after merging, as in Prometheus: wider ones
	// save little and make retention by size coarse.
	maxBlockRange = 31 * 24 * time.Hour

	// walSegment is smaller than Prometheus' 128 MiB. The log is truncated by
	// whole segments and never below three, so its size (and the time to
	// replay it) in a small installation follows from this. A segment costs
	// one file and one background fsync: at 10 MB/s of log, one in 3 seconds.
	walSegment = 32 << 20

	// headStripes is the number of locks over the series map. Prometheus takes
	// 16,384, which is 4 MB for each tenant before the first sample; 1,024
	// keep contention unmeasurable at the core counts one process has.
	headStripes = 1024

	// chunkWriteBuffer buffers full head chunks on their way to disk, for each
	// tenant. Prometheus takes 4 MiB. Chunks arrive once a minute in bursts of
	// a few hundred bytes a series; what is lost from the buffer in a crash
	// comes back from the write-ahead log.
	chunkWriteBuffer = 256 << 10
)

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return fmt.Errorf("open metric store: no folder given: %w", store.ErrInvalid)
	}
	if o.Retention == 0 {
		o.Retention = defaultRetention
	}
	if o.OutOfOrder == 0 {
		o.OutOfOrder = defaultOutOfOrder
	}
	if o.MaxExemplars == 0 {
		o.MaxExemplars = defaultMaxExemplars
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	if o.QueryMemory == 0 {
		o.QueryMemory = defaultQueryMemory
	}
	if o.QueryTimeout == 0 {
		o.QueryTimeout = defaultQueryTimeout
	}
	if o.MaxQueries == 0 {
		o.MaxQueries = max(4, 2*runtime.GOMAXPROCS(0))
	}
	if o.Promote == nil {
		o.Promote = DefaultPromote()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.Retention < blockRange {
		errs = append(errs, fmt.Errorf("retention %v is below %v, the smallest block", o.Retention, blockRange))
	}
	if o.MaxBytes < 0 || o.MinFree < 0 || o.QueryMemory < 0 || o.QueryTimeout < 0 || o.MaxQueries < 0 {
		errs = append(errs, errors.New("a limit is negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("open metric store: %w: %w", err, store.ErrInvalid)
	}
	return nil
}

// engine returns the options of one tenant's TSDB.
func (o *Options) engine(blocksToDelete tsdb.BlocksToDeleteFunc, series tsdb.SeriesLifecycleCallback) *tsdb.Options {
	t := tsdb.DefaultOptions()
	t.WALSegmentSize = walSegment
	t.WALCompression = compression.Snappy
	t.StripeSize = headStripes
	t.HeadChunksWriteBufferSize = chunkWriteBuffer
	t.MinBlockDuration = blockRange.Milliseconds()
	t.MaxBlockDuration = min(max(o.Retention/10, blockRange), maxBlockRange).Milliseconds()
	t.RetentionDuration = o.Retention.Milliseconds()
	t.BlocksToDelete = blocksToDelete
	t.SeriesLifecycleCallback = series
	t.OutOfOrderTimeWindow = max(o.OutOfOrder, 0).Milliseconds()
	t.EnableExemplarStorage = o.MaxExemplars > 0
	t.MaxExemplars = max(o.MaxExemplars, 0)
	return t
}
