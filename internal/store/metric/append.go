package metric

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Reason says why a sample was refused. The values are label values.
type Reason string

// The reasons.
const (
	TooOld           Reason = "too_old"           // behind the out-of-order window, or older than the retention
	TooNew           Reason = "too_new"           // further in the future than clocks may differ
	OutOfOrder       Reason = "out_of_order"      // late, where late samples are not taken
	Duplicate        Reason = "duplicate"         // another value for the same time
	InvalidLabels    Reason = "invalid_labels"    // no name, repeated names, too long
	InvalidHistogram Reason = "invalid_histogram" // buckets that contradict each other or cannot be converted
	InvalidPoint     Reason = "invalid_point"     // OTLP data that cannot be converted: no type, no temporality, no name
	StaleDelta       Reason = "stale_delta"       // a delta at or before the last one of its stream, or one stream too many
)

// reasons lists all; a counter is kept at its index.
var reasons = [...]Reason{TooOld, TooNew, OutOfOrder, Duplicate, InvalidLabels, InvalidHistogram, InvalidPoint, StaleDelta}

// reasonOf tells why the engine refused a sample; ok is false when it was not
// for the sample.
func reasonOf(err error) (r Reason, ok bool) {
	var h histogram.Error
	switch {
	case errors.Is(err, errTooNew):
		return TooNew, true
	case errors.Is(err, errTooLong), errors.Is(err, tsdb.ErrInvalidSample):
		return InvalidLabels, true
	case errors.Is(err, storage.ErrTooOldSample), errors.Is(err, storage.ErrOutOfBounds):
		return TooOld, true
	case errors.Is(err, storage.ErrOutOfOrderSample):
		return OutOfOrder, true
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		return Duplicate, true
	case errors.As(err, &h):
		return InvalidHistogram, true
	}
	return "", false
}

// They wrap what a scrape recognises as the sample's fault.
var (
	errTooNew  = fmt.Errorf("%w: more than %v in the future", storage.ErrOutOfBounds, maxAhead)
	errTooOld  = fmt.Errorf("%w: older than the retention", storage.ErrTooOldSample)
	errTooLong = fmt.Errorf("%w: labels of more than %d bytes", storage.ErrOutOfBounds, maxLabels)
)

// seriesBound refuses series with too long labels. The engine asks when it
// makes a series, thus not for every sample; while it replays its log it must
// not be refused what it once took.
type seriesBound struct{ on atomic.Bool }

// PreCreation implements tsdb.SeriesLifecycleCallback, as do the others.
func (b *seriesBound) PreCreation(ls labels.Labels) error {
	if !b.on.Load() {
		return nil
	}
	n := 0
	ls.Range(func(l labels.Label) { n += len(l.Name) + len(l.Value) })
	if n > maxLabels {
		return errTooLong
	}
	return nil
}

func (*seriesBound) PostCreation(labels.Labels)                          {}
func (*seriesBound) PostDeletion(map[chunks.HeadSeriesRef]labels.Labels) {}

// transaction is what the two kinds of appenders share: the engine's gate, the
// bounds of time, the counts, and what Commit promises.
type transaction struct {
	in       *instance
	g        *generation
	min, max int64 // milliseconds; samples outside are refused
	appended uint64
	family   string // the last one noted
	done     bool
}

// begin opens a transaction: an error wraps store.ErrUnavailable.
func (in *instance) begin() (transaction, error) {
	if err := in.s.space.admit(); err != nil {
		return transaction{}, err
	}
	g := in.gen.Load()
	if g == nil || g.broken.Load() || !g.appends.enter() {
		return transaction{}, in.unavailable()
	}
	now := time.Now()
	return transaction{
		in: in, g: g,
		min: now.Add(-in.s.opts.Retention).UnixMilli(),
		max: now.Add(maxAhead).UnixMilli(),
	}, nil
}

// check refuses samples whose time is out of bounds.
func (tx *transaction) check(t int64) error {
	switch {
	case t > tx.max:
		return errTooNew
	case t < tx.min:
		return errTooOld
	}
	return nil
}

// count accounts for one append and returns err as it came.
func (tx *transaction) count(err error) error {
	if err == nil {
		tx.appended++
	} else if r, ok := reasonOf(err); ok {
		tx.in.s.counts.reject(r, 1)
	}
	return err
}

// commit ends the transaction with the engine's commit. It succeeds only when
// the engine's logs hold everything: a failed write to them makes all that
// follows uncertain, for this and all other appenders.
func (tx *transaction) commit(commit func() error) error {
	if tx.done {
		return tsdb.ErrAppenderClosed
	}
	tx.done = true
	defer tx.g.appends.leave()
	err := commit()
	if tx.g.metrics.logFailed() {
		if tx.g.broken.CompareAndSwap(false, true) {
			tx.in.log.Error("writing the log of metrics failed; refusing metrics until it is repaired", "err", err)
		}
		return fmt.Errorf("write metrics of tenant %s: log not written: %w", tx.in.tenant, store.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("write metrics of tenant %s: %w: %w", tx.in.tenant, err, store.ErrUnavailable)
	}
	tx.in.s.counts.appended.Add(tx.appended)
	tx.in.s.space.appended(tx.appended)
	return nil
}

func (tx *transaction) rollback(rollback func() error) error {
	if tx.done {
		return tsdb.ErrAppenderClosed
	}
	tx.done = true
	defer tx.g.appends.leave()
	return rollback()
}

// note keeps the metadata of a metric family.
func (tx *transaction) note(family string, m metadata.Metadata) {
	if family == "" || family == tx.family || m.IsEmpty() {
		return
	}
	tx.family = strings.Clone(family)
	tx.in.families.note(tx.family, m)
}

// reduce lowers the resolution of a native histogram to what the engine takes.
func reduce(h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	if h != nil && histogram.IsExponentialSchemaReserved(h.Schema) && h.Schema > histogram.ExponentialSchemaMax {
		return h.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	if fh != nil && histogram.IsExponentialSchemaReserved(fh.Schema) && fh.Schema > histogram.ExponentialSchemaMax {
		return fh.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	return nil
}

// appenderV2 is the appender of scrapes and OTLP.
type appenderV2 struct {
	transaction
	app storage.AppenderV2
}

func (in *instance) appenderV2(ctx context.Context) (*appenderV2, error) {
	tx, err := in.begin()
	if err != nil {
		return nil, err
	}
	return &appenderV2{tx, tx.g.db.AppenderV2(ctx)}, nil
}

func (a *appenderV2) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if err := a.check(t); err != nil {
		return 0, a.count(err)
	}
	if err := reduce(h, fh); err != nil {
		return 0, a.count(err)
	}
	ref, err := a.app.Append(ref, ls, st, t, v, h, fh, opts)
	var partial *storage.AppendPartialError
	if errors.As(err, &partial) { // the sample is in, some exemplars are not
		a.in.s.counts.exemplarsRejected.Add(uint64(len(partial.ExemplarErrors)))
		a.appended++
	} else {
		_ = a.count(err)
	}
	if err == nil || partial != nil {
		a.note(opts.MetricFamilyName, opts.Metadata)
	}
	return ref, err
}

func (a *appenderV2) Commit() error   { return a.commit(a.app.Commit) }
func (a *appenderV2) Rollback() error { return a.rollback(a.app.Rollback) }

// appender is the appender of remote write and recording rules.
type appender struct {
	transaction
	app storage.Appender
}

func (in *instance) appender(ctx context.Context) (*appender, error) {
	tx, err := in.begin()
	if err != nil {
		return nil, err
	}
	return &appender{tx, tx.g.db.Appender(ctx)}, nil
}

func (a *appender) SetOptions(o *storage.AppendOptions) { a.app.SetOptions(o) }

func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if err := a.check(t); err != nil {
		return 0, a.count(err)
	}
	ref, err := a.app.Append(ref, ls, t, v)
	return ref, a.count(err)
}

func (a *appender) AppendHistogram(ref storage.SeriesRef, ls labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if err := a.check(t); err != nil {
		return 0, a.count(err)
	}
	if err := reduce(h, fh); err != nil {
		return 0, a.count(err)
	}
	ref, err := a.app.AppendHistogram(ref, ls, t, h, fh)
	return ref, a.count(err)
}

func (a *appender) AppendSTZeroSample(ref storage.SeriesRef, ls labels.Labels, t, st int64) (storage.SeriesRef, error) {
	if err := a.check(t); err != nil {
		return 0, err
	}
	return a.app.AppendSTZeroSample(ref, ls, t, st)
}

func (a *appender) AppendHistogramSTZeroSample(ref storage.SeriesRef, ls labels.Labels, t, st int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if err := a.check(t); err != nil {
		return 0, err
	}
	return a.app.AppendHistogramSTZeroSample(ref, ls, t, st, h, fh)
}

func (a *appender) AppendExemplar(ref storage.SeriesRef, ls labels.Labels, e exemplar.Exemplar) (storage.SeriesRef, error) {
	err := a.check(e.Ts)
	if err == nil {
		ref, err = a.app.AppendExemplar(ref, ls, e)
	}
	if err != nil {
		a.in.s.counts.exemplarsRejected.Add(1)
	}
	return ref, err
}

// UpdateMetadata keeps metadata for the metric family, not for each series:
// the engine would hold a copy with every one.
func (a *appender) UpdateMetadata(ref storage.SeriesRef, ls labels.Labels, m metadata.Metadata) (storage.SeriesRef, error) {
	a.note(familyOf(ls.Get(model.MetricNameLabel), m.Type), m)
	return ref, nil
}

func (a *appender) Commit() error   { return a.commit(a.app.Commit) }
func (a *appender) Rollback() error { return a.rollback(a.app.Rollback) }

// familyOf is the metric family of a series of that name.
func familyOf(name string, t model.MetricType) string {
	var suffixes []string
	switch t {
	case model.MetricTypeHistogram, model.MetricTypeGaugeHistogram:
		suffixes = []string{"_bucket", "_sum", "_count"}
	case model.MetricTypeSummary:
		suffixes = []string{"_sum", "_count"}
	}
	for _, suffix := range suffixes {
		if f, ok := strings.CutSuffix(name, suffix); ok {
			return f
		}
	}
	return name
}

// refusingAppender is what a store hands out when it can take nothing: its
// callers expect no error before they append.
type refusingAppender struct{ err error }

func (a refusingAppender) SetOptions(*storage.AppendOptions) {}
func (a refusingAppender) Append(storage.SeriesRef, labels.Labels, int64, float64) (storage.SeriesRef, error) {
	return 0, a.err
}

func (a refusingAppender) AppendHistogram(storage.SeriesRef, labels.Labels, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, a.err
}

func (a refusingAppender) AppendSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64) (storage.SeriesRef, error) {
	return 0, a.err
}

func (a refusingAppender) AppendHistogramSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, a.err
}

func (a refusingAppender) AppendExemplar(storage.SeriesRef, labels.Labels, exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, a.err
}

func (a refusingAppender) UpdateMetadata(storage.SeriesRef, labels.Labels, metadata.Metadata) (storage.SeriesRef, error) {
	return 0, a.err
}
func (a refusingAppender) Commit() error   { return a.err }
func (a refusingAppender) Rollback() error { return nil }

type refusingAppenderV2 struct{ err error }

func (a refusingAppenderV2) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 0, a.err
}
func (a refusingAppenderV2) Commit() error   { return a.err }
func (a refusingAppenderV2) Rollback() error { return nil }
