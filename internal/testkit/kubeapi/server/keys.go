package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"
)

// makeKeys makes an authority and whom it vouches for, and when all are there the file
// "made".
func makeKeys(in func(string) string, host net.IP) error {
	server, admin := x509.Certificate{IPAddresses: []net.IP{host}}, x509.Certificate{Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}}
	server.ExtKeyUsage, admin.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	ca := x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, err := issue(in("ca"), &ca, &ca, nil)
	if err != nil {
		return err
	}
	for name, t := range map[string]*x509.Certificate{"server": &server, "admin": &admin, "sa": {}} {
		if _, err := issue(in(name), t, &ca, key); err != nil {
			return err
		}
	}
	return os.WriteFile(in("made"), nil, 0o600)
}

// issue writes a certificate and its key, signed by another's or, if that is nil, by itself.
func issue(path string, t, by *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if signer == nil {
		signer = own
	}
	t.SerialNumber, t.NotBefore, t.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	cert, err := x509.CreateCertificate(rand.Reader, t, by, &own.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		return nil, err
	}
	return own, errors.Join(
		os.WriteFile(path+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600))
}
