package metric

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/store"
)

// PartialError says that some samples of a batch were refused. The others are
// kept as durably as if there had been no error; sending the batch again would
// change nothing. It wraps store.ErrInvalid.
type PartialError struct {
	Tenant store.Tenant
	// Rejected counts samples (OTLP: data points where they could not be
	// converted) by reason.
	Rejected map[Reason]int
	// First is what was wrong with the first one that the engine refused.
	First error
}

// Error implements error.
func (e *PartialError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "write metrics of tenant %s: %d samples refused", e.Tenant, e.Total())
	sep := " ("
	for _, r := range reasons {
		if n := e.Rejected[r]; n > 0 {
			fmt.Fprintf(&b, "%s%s: %d", sep, r, n)
			sep = ", "
		}
	}
	if sep == ", " {
		b.WriteByte(')')
	}
	if e.First != nil {
		fmt.Fprintf(&b, "; first: %v", e.First)
	}
	return b.String()
}

// Unwrap makes the error a store.ErrInvalid.
func (e *PartialError) Unwrap() error { return store.ErrInvalid }

// Total is the number of samples refused.
func (e *PartialError) Total() int {
	n := 0
	for _, c := range e.Rejected {
		n += c
	}
	return n
}

func (e *PartialError) add(r Reason, n int, err error) {
	if n == 0 {
		return
	}
	if e.Rejected == nil {
		e.Rejected = map[Reason]int{}
	}
	e.Rejected[r] += n
	if e.First == nil {
		e.First = err
	}
}

// orNil is e as an error, nil when nothing was refused.
func (e *PartialError) orNil() error {
	if len(e.Rejected) == 0 {
		return nil
	}
	return e
}

// Write stores OTLP metrics under the names and labels that Prometheus'
// own OTLP receiver gives them: dots become underscores, units and _total are
// appended; service.name is job, service.instance.id is instance, all other
// resource attributes that are not promoted are on target_info; exponential
// histograms become native ones; delta sums are added up.
//
// It returns nil when all is kept, a *PartialError when some samples were
// refused and the others kept, an error that wraps store.ErrUnavailable when
// the batch should be sent again, ErrTenants when it should not, or the error
// of ctx. Sending a batch again
// is safe: samples that are there already are no error. Only the deltas of a
// batch that failed half-way are not added twice and appear with the next
// point of their stream. Of two values that one batch has for the same series
// and time, the first stays. Write does not modify or keep md.
func (s *Store) Write(ctx context.Context, t store.Tenant, md pmetric.Metrics) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if md.MetricCount() == 0 {
		return nil
	}
	if err := s.space.admit(); err != nil { // before deltas are added up
		return err
	}
	in, err := s.instance(t, true)
	if err != nil {
		return err
	}
	partial := &PartialError{Tenant: t}
	clean, owned := screen(md, partial)
	if hasDelta(clean) {
		if !owned {
			clean = pmetric.NewMetrics()
			md.CopyTo(clean)
		}
		acc, err := in.accumulator()
		if err != nil {
			return err
		}
		lost, err := acc.accumulate(ctx, clean)
		if err != nil {
			return err
		}
		partial.add(StaleDelta, lost, nil)
	}
	for r, n := range partial.Rejected {
		s.counts.reject(r, uint64(n))
	}
	if err := in.write(ctx, clean, partial); err != nil {
		return err
	}
	return partial.orNil()
}

// write converts and appends cumulative metrics in one transaction.
func (in *instance) write(ctx context.Context, md pmetric.Metrics, partial *PartialError) error {
	a, err := in.appenderV2(ctx)
	if err != nil {
		return err
	}
	app := &lenient{appenderV2: a, partial: partial}
	conv, _ := in.s.converter.Get().(*prometheusremotewrite.PrometheusConverter)
	if conv == nil {
		conv = prometheusremotewrite.NewPrometheusConverter(nil)
	}
	conv.Reset(app)
	defer func() {
		conv.Reset(nil)
		in.s.converter.Put(conv)
	}()
	warnings, err := conv.FromMetrics(ctx, md, in.s.translation())
	if ctxErr := ctx.Err(); ctxErr != nil {
		return errors.Join(ctxErr, a.Rollback())
	}
	if app.failed != nil {
		return errors.Join(app.failed, a.Rollback())
	}
	if err != nil {
		// What screen did not foresee: the rest of one metric.
		partial.add(InvalidPoint, 1, err)
		in.s.counts.reject(InvalidPoint, 1)
	}
	for _, w := range warnings {
		in.log.Debug("convert OTLP metrics", "warning", w)
	}
	return a.Commit()
}

// translation is how OTLP becomes Prometheus.
func (s *Store) translation() prometheusremotewrite.Settings {
	otlp := config.DefaultOTLPConfig
	otlp.PromoteResourceAttributes = s.opts.Promote
	return prometheusremotewrite.Settings{
		AddMetricSuffixes:                    otlp.TranslationStrategy.ShouldAddSuffixes(),
		AllowUTF8:                            !otlp.TranslationStrategy.ShouldEscape(),
		PromoteResourceAttributes:            prometheusremotewrite.NewPromoteResourceAttributes(otlp),
		LookbackDelta:                        Lookback,
		LabelNameUnderscoreSanitization:      otlp.LabelNameUnderscoreSanitization,
		LabelNamePreserveMultipleUnderscores: otlp.LabelNamePreserveMultipleUnderscores,
	}
}

// lenient is an appender that notes which samples the engine refused and lets
// the conversion go on.
type lenient struct {
	*appenderV2
	partial *PartialError
	failed  error
}

func (l *lenient) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	ls = mend(ls)
	for i := range opts.Exemplars {
		opts.Exemplars[i].Labels = mend(opts.Exemplars[i].Labels)
	}
	opts.Metadata.Help = strings.ToValidUTF8(opts.Metadata.Help, "\uFFFD")
	opts.Metadata.Unit = strings.ToValidUTF8(opts.Metadata.Unit, "\uFFFD")
	ref, err := l.appenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if err == nil {
		return ref, nil
	}
	if _, ok := errors.AsType[*storage.AppendPartialError](err); ok {
		return ref, nil // exemplars only; counted
	}
	if r, ok := reasonOf(err); ok {
		l.partial.add(r, 1, fmt.Errorf("%s: %w", ls.String(), err))
		return 0, nil
	}
	l.failed = fmt.Errorf("write metrics of tenant %s: %w: %w", l.in.tenant, err, store.ErrUnavailable)
	return 0, l.failed
}

// mend replaces what is not UTF-8 in label values, as the event store does in
// texts: protobuf promises it and senders break the promise. The answers of
// the query API would be no JSON otherwise. Names are made of ASCII by the
// converter.
func mend(ls labels.Labels) labels.Labels {
	sound := true
	ls.Range(func(l labels.Label) { sound = sound && utf8.ValidString(l.Value) })
	if sound {
		return ls
	}
	b := labels.NewBuilder(ls)
	ls.Range(func(l labels.Label) { b.Set(l.Name, strings.ToValidUTF8(l.Value, "\uFFFD")) })
	return b.Labels()
}
