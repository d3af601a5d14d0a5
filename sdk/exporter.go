package sdk

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
)

// none tells whether a signal is not to be sent.
func (e *environment) none(signal string) (none bool) {
	name := "OTEL_" + strings.ToUpper(signal) + "_EXPORTER"
	otlp := false
	for _, exporter := range e.list(name) {
		switch exporter {
		case "none":
			none = true
		case "otlp":
			otlp = true
		default:
			otlp = true
			e.errs = append(e.errs, fmt.Errorf("environment variable %s names the exporter %q: want otlp or none; otlp is used", name, exporter))
		}
	}
	return none && !otlp
}

// tls reads authorities and certificates, of a signal or common ones; nil when
// there are none. What cannot be read leaves the system's authorities, or no
// certificate of ours: a receiver is never trusted more for it.
func (e *environment) tls(own, base string) *tls.Config {
	var c tls.Config
	if path, name := e.text(own+"CERTIFICATE", base+"CERTIFICATE"); path != "" {
		pool, err := readAuthorities(path)
		if err != nil {
			e.errs = append(e.errs, fmt.Errorf("environment variable %s: %w; the authorities of the system are trusted", name, err))
		}
		c.RootCAs = pool
	}
	cert, certName := e.text(own+"CLIENT_CERTIFICATE", base+"CLIENT_CERTIFICATE")
	key, keyName := e.text(own+"CLIENT_KEY", base+"CLIENT_KEY")
	switch {
	case cert == "" && key == "":
	case key == "" || cert == "":
		e.errs = append(e.errs, fmt.Errorf("environment variable %s%s: want both a CLIENT_CERTIFICATE and a CLIENT_KEY; none is shown to the receiver", certName, keyName))
	default:
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			e.errs = append(e.errs, fmt.Errorf("environment variables %s and %s: %w; no certificate is shown to the receiver", certName, keyName, err))
			break
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if c.RootCAs == nil && c.Certificates == nil {
		return nil
	}
	return &c
}

func readAuthorities(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read %q: want certificates in PEM", path)
	}
	return pool, nil
}
