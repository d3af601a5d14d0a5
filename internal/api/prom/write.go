package prom

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/genproto/googleapis/rpc/code"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	protov2 "google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/metric"
)

// maxUnpacked bounds what a body may grow to when it is decompressed, as a
// multiple of Options.MaxBody: metrics shrink to a tenth at best, bombs to a
// thousandth.
const maxUnpacked = 8

var (
	errTooLarge  = errors.New("body too large")
	errMediaType = errors.New("unsupported media type")
)

// remoteWrite takes remote write of both versions. It answers 204 when all is
// kept, 400 when some samples were refused and the others kept (the sender must
// not repeat them) or nothing of this tenant is ever kept, 503 when the sender
// should try again.
func (a *API) remoteWrite(w http.ResponseWriter, r *http.Request, t store.Tenant) {
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		contentType = "application/x-protobuf"
	}
	kind, err := remote.ParseProtoMsg(contentType)
	if err != nil {
		a.failWrite(w, fmt.Errorf("remote write: %w: %w", err, errMediaType))
		return
	}
	if err := a.opts.Store.Database(t).Admit(); err != nil { // before the body is unpacked
		a.failWrite(w, err)
		return
	}
	encoding := r.Header.Get("Content-Encoding")
	if encoding == "" { // senders of version 0.1.0 may leave it out
		encoding = "snappy"
	}
	body, err := a.unpack(r.Body, encoding)
	if err != nil {
		a.failWrite(w, fmt.Errorf("remote write: %w", err))
		return
	}
	var written metric.Written
	switch kind {
	case remote.WriteV2MessageType:
		var req writev2.Request
		if err = proto.Unmarshal(body, &req); err == nil {
			written, err = a.opts.Store.WriteRemoteV2(r.Context(), t, &req)
		} else {
			err = fmt.Errorf("remote write: %w: %w", err, store.ErrInvalid)
		}
		h := w.Header()
		h.Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(written.Samples))
		h.Set("X-Prometheus-Remote-Write-Histograms-Written", fmt.Sprint(written.Histograms))
		h.Set("X-Prometheus-Remote-Write-Exemplars-Written", fmt.Sprint(written.Exemplars))
	default:
		var req prompb.WriteRequest
		if err = proto.Unmarshal(body, &req); err == nil {
			_, err = a.opts.Store.WriteRemote(r.Context(), t, &req)
		} else {
			err = fmt.Errorf("remote write: %w: %w", err, store.ErrInvalid)
		}
	}
	if err != nil {
		a.failWrite(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// failWrite answers with an error in plain text, as senders log it.
func (a *API) failWrite(w http.ResponseWriter, err error) {
	code, _ := status(err)
	if code == http.StatusInternalServerError {
		a.opts.Logger.Error("remote write", "err", err)
	}
	http.Error(w, err.Error(), code)
}

// unpack reads a body and undoes its Content-Encoding.
func (a *API) unpack(body io.Reader, encoding string) ([]byte, error) {
	limit := a.opts.MaxBody * maxUnpacked
	switch encoding {
	case "", "identity":
		return io.ReadAll(body)
	case "snappy": // the block form, not the framed one
		raw, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		n, err := snappy.DecodedLen(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, store.ErrInvalid)
		}
		if int64(n) > limit {
			return nil, fmt.Errorf("%d bytes unpacked, at most %d: %w", n, limit, errTooLarge)
		}
		out, err := snappy.Decode(nil, raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, store.ErrInvalid)
		}
		return out, nil
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, invalidUnless(err)
		}
		return readAtMost(z, limit)
	case "zstd":
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)))
		if err != nil {
			return nil, invalidUnless(err)
		}
		defer z.Close()
		return readAtMost(z, limit)
	}
	return nil, fmt.Errorf("content encoding %q: %w", encoding, errMediaType)
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	var out bytes.Buffer
	if _, err := io.Copy(&out, io.LimitReader(r, limit+1)); err != nil {
		return nil, invalidUnless(err)
	}
	if int64(out.Len()) > limit {
		return nil, fmt.Errorf("more than %d bytes unpacked: %w", limit, errTooLarge)
	}
	return out.Bytes(), nil
}

// invalidUnless marks an error of decompression as the sender's, unless it is
// that of reading the body.
func invalidUnless(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", err, store.ErrInvalid)
}

// otlpWrite takes OTLP over HTTP, in protobuf and in JSON, and answers in the
// same: 200 with the number of refused samples, or a status that says whether
// to try again.
func (a *API) otlpWrite(w http.ResponseWriter, r *http.Request, t store.Tenant) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	asJSON := media == "application/json"
	if err != nil || (!asJSON && media != "application/x-protobuf") {
		a.failOTLP(w, false, fmt.Errorf("OTLP: content type %q, want application/x-protobuf or application/json: %w", r.Header.Get("Content-Type"), errMediaType))
		return
	}
	if err := a.opts.Store.Database(t).Admit(); err != nil {
		a.failOTLP(w, asJSON, err)
		return
	}
	body, err := a.unpack(r.Body, r.Header.Get("Content-Encoding"))
	if err != nil {
		a.failOTLP(w, asJSON, fmt.Errorf("OTLP: %w", err))
		return
	}
	req := pmetricotlp.NewExportRequest()
	if asJSON {
		err = req.UnmarshalJSON(body)
	} else {
		err = req.UnmarshalProto(body)
	}
	if err != nil {
		a.failOTLP(w, asJSON, fmt.Errorf("OTLP: %w: %w", err, store.ErrInvalid))
		return
	}
	resp := pmetricotlp.NewExportResponse()
	err = a.opts.Store.Write(r.Context(), t, req.Metrics())
	if partial, ok := errors.AsType[*metric.PartialError](err); ok {
		resp.PartialSuccess().SetRejectedDataPoints(int64(partial.Total()))
		resp.PartialSuccess().SetErrorMessage(partial.Error())
	} else if err != nil {
		a.failOTLP(w, asJSON, err)
		return
	}
	var out []byte
	if asJSON {
		out, err = resp.MarshalJSON()
	} else {
		out, err = resp.MarshalProto()
	}
	if err != nil {
		a.failOTLP(w, asJSON, err)
		return
	}
	w.Header().Set("Content-Type", media)
	_, _ = w.Write(out)
}

// failOTLP answers with a google.rpc.Status, as the protocol wants.
func (a *API) failOTLP(w http.ResponseWriter, asJSON bool, err error) {
	http, _ := status(err)
	st := &rpc.Status{Message: err.Error(), Code: int32(rpcCode(http))}
	var out []byte
	var merr error
	if asJSON {
		w.Header().Set("Content-Type", "application/json")
		out, merr = protojson.Marshal(st)
	} else {
		w.Header().Set("Content-Type", "application/x-protobuf")
		out, merr = protov2.Marshal(st)
	}
	if http >= 500 || merr != nil {
		a.opts.Logger.Debug("OTLP write", "err", err, "marshal", merr)
	}
	w.WriteHeader(http)
	_, _ = w.Write(out)
}

func rpcCode(status int) code.Code {
	switch status {
	case http.StatusServiceUnavailable:
		return code.Code_UNAVAILABLE
	case http.StatusInternalServerError:
		return code.Code_INTERNAL
	case 499:
		return code.Code_CANCELLED
	}
	return code.Code_INVALID_ARGUMENT
}
