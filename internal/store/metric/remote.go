package metric

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Written counts what a remote write has stored.
type Written struct {
	Samples, Histograms, Exemplars int
}

// WriteRemote stores a remote write request of version 1. The errors are those
// of Write; w holds also with a *PartialError.
func (s *Store) WriteRemote(ctx context.Context, t store.Tenant, req *prompb.WriteRequest) (w Written, err error) {
	return s.writeRemote(ctx, t, func(r *remoteWrite) {
		b := labels.NewScratchBuilder(0)
		for _, m := range req.Metadata {
			r.app.note(m.MetricFamilyName, metadata.Metadata{Type: metricTypes[m.Type], Unit: m.Unit, Help: m.Help})
		}
		for _, ts := range req.Timeseries {
			ls := ts.ToLabels(&b, nil)
			if !r.series(ls, len(ts.Samples)+len(ts.Histograms)) {
				continue
			}
			for _, p := range ts.Samples {
				r.sample(ls, p.Timestamp, p.Value)
			}
			for _, h := range ts.Histograms {
				if h.IsFloatHistogram() {
					r.histogram(ls, h.Timestamp, nil, h.ToFloatHistogram())
				} else {
					r.histogram(ls, h.Timestamp, h.ToIntHistogram(), nil)
				}
			}
			for _, e := range ts.Exemplars {
				r.exemplar(ls, e.ToExemplar(&b, nil))
			}
		}
	})
}

// WriteRemoteV2 stores a remote write request of version 2, as WriteRemote.
func (s *Store) WriteRemoteV2(ctx context.Context, t store.Tenant, req *writev2.Request) (w Written, err error) {
	return s.writeRemote(ctx, t, func(r *remoteWrite) {
		b := labels.NewScratchBuilder(0)
		for _, ts := range req.Timeseries {
			n := len(ts.Samples) + len(ts.Histograms)
			ls, err := ts.ToLabels(&b, req.Symbols)
			if err == nil && n == 0 {
				err = errNoSample
			}
			if err != nil {
				r.refuse(InvalidLabels, max(n, 1), fmt.Errorf("series: %w", err))
				continue
			}
			if !r.series(ls, n) {
				continue
			}
			for _, p := range ts.Samples {
				r.sample(ls, p.Timestamp, p.Value)
			}
			for _, h := range ts.Histograms {
				if h.IsFloatHistogram() {
					r.histogram(ls, h.Timestamp, nil, h.ToFloatHistogram())
				} else {
					r.histogram(ls, h.Timestamp, h.ToIntHistogram(), nil)
				}
			}
			for _, p := range ts.Exemplars {
				if e, err := p.ToExemplar(&b, req.Symbols); err != nil {
					s.counts.exemplarsRejected.Add(1)
				} else {
					r.exemplar(ls, e)
				}
			}
			if m, err := ts.ToMetadata(req.Symbols); err == nil {
				_, _ = r.app.UpdateMetadata(0, ls, m)
			}
		}
	})
}

var errNoSample = errors.New("it has neither a sample nor a histogram")

// metricTypes are the names of version 1's numbers.
var metricTypes = map[prompb.MetricMetadata_MetricType]model.MetricType{
	prompb.MetricMetadata_COUNTER:        model.MetricTypeCounter,
	prompb.MetricMetadata_GAUGE:          model.MetricTypeGauge,
	prompb.MetricMetadata_HISTOGRAM:      model.MetricTypeHistogram,
	prompb.MetricMetadata_GAUGEHISTOGRAM: model.MetricTypeGaugeHistogram,
	prompb.MetricMetadata_SUMMARY:        model.MetricTypeSummary,
	prompb.MetricMetadata_INFO:           model.MetricTypeInfo,
	prompb.MetricMetadata_STATESET:       model.MetricTypeStateset,
	prompb.MetricMetadata_UNKNOWN:        model.MetricTypeUnknown,
}

// remoteWrite is a request under way: it keeps what is good and notes what is
// not.
type remoteWrite struct {
	s       *Store
	app     *appender
	ref     storage.SeriesRef // of the series being written
	written Written
	partial *PartialError
	failed  error // not the samples' fault
}

func (s *Store) writeRemote(ctx context.Context, t store.Tenant, fill func(*remoteWrite)) (Written, error) {
	if err := ctx.Err(); err != nil {
		return Written{}, err
	}
	in, err := s.instance(t, true)
	if err != nil {
		return Written{}, err
	}
	app, err := in.appender(ctx)
	if err != nil {
		return Written{}, err
	}
	r := &remoteWrite{s: s, app: app, partial: &PartialError{Tenant: t}}
	fill(r)
	if err := errors.Join(ctx.Err(), r.failed); err != nil {
		return Written{}, errors.Join(err, app.Rollback())
	}
	if err := app.Commit(); err != nil {
		return Written{}, err
	}
	return r.written, r.partial.orNil()
}

func (r *remoteWrite) refuse(why Reason, n int, err error) {
	r.s.counts.reject(why, uint64(n))
	r.partial.add(why, n, err)
}

// series begins a series of n samples and reports whether it may be written.
func (r *remoteWrite) series(ls labels.Labels, n int) bool {
	r.ref = 0
	dup, repeated := ls.HasDuplicateLabelNames()
	switch {
	case !ls.Has(model.MetricNameLabel) || !ls.IsValid(model.UTF8Validation):
		r.refuse(InvalidLabels, n, fmt.Errorf("%s: no metric name, or a label that is not UTF-8", ls))
	case repeated:
		r.refuse(InvalidLabels, n, fmt.Errorf("%s: label %q twice", ls, dup))
	default:
		return r.failed == nil
	}
	return false
}

func (r *remoteWrite) sample(ls labels.Labels, t int64, v float64) {
	ref, err := r.app.Append(r.ref, ls, t, v)
	if r.done(ref, ls, err) {
		r.written.Samples++
	}
}

func (r *remoteWrite) histogram(ls labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) {
	ref, err := r.app.AppendHistogram(r.ref, ls, t, h, fh)
	if r.done(ref, ls, err) {
		r.written.Histograms++
	}
}

// done takes the outcome of an append, which the appender has counted.
func (r *remoteWrite) done(ref storage.SeriesRef, ls labels.Labels, err error) bool {
	if err == nil {
		r.ref = ref
		return true
	}
	if why, ok := reasonOf(err); ok {
		r.partial.add(why, 1, fmt.Errorf("%s: %w", ls, err))
	} else if r.failed == nil {
		r.failed = fmt.Errorf("write metrics of tenant %s: %w: %w", r.app.in.tenant, err, store.ErrUnavailable)
	}
	return false
}

// exemplar appends an exemplar; one that is refused is counted and no error.
func (r *remoteWrite) exemplar(ls labels.Labels, e exemplar.Exemplar) {
	if _, err := r.app.AppendExemplar(r.ref, ls, e); err == nil {
		r.written.Exemplars++
	}
}
