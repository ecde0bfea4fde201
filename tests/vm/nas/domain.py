"""A domain that the NAS has joined: an LDAP server (slapd) on the machine itself, and sssd, which PAM and NSS ask.

Names are as domains have them (`dora@corp.example`), in any case, and sssd enumerates nobody. The domain is a layer of its own: the image of the
other scenarios knows nothing of it.
"""

import inspect
import subprocess
import time

from . import layers
from .machine import OUT, PATIENCE

REALM = "corp.example"
CONTROLLER = f"dc.{REALM}"
BASE = "dc=corp,dc=example"
PEOPLE = {"dora": 70001, "dave": 70002, "erin": 70003}
PASSWORDS = {"dora": "explorer", "dave": "windmill", "erin": "lighthouse"}
GROUPS = {"people": (70000, []), "staff": (70010, ["dora", "dave"]), "guests": (70020, ["erin"])}

SLAPD_CONF = f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
TLSCertificateFile /etc/ldap/cert.pem
TLSCertificateKeyFile /etc/ldap/key.pem
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "{BASE}"
directory /var/lib/ldap
maxsize 8388608
index objectClass,uid,uidNumber,gidNumber,memberUid,cn eq
"""

SLAPD_UNIT = f"""\
[Unit]
Description=The domain controller

[Service]
ExecStart=/usr/sbin/slapd -d 0 -f /etc/ldap/slapd.conf -h ldaps://{CONTROLLER}
ExecStartPost=/bin/bash -c 'until : < /dev/tcp/{CONTROLLER}/636; do sleep 0.1; done'
"""

# An emulated machine on a busy host takes long to shake hands. sssd would also ask for sudo rules, mounts and more. A controller that was away is
# soon asked again.
SSSD_CONF = f"""\
[sssd]
services = nss, pam
timeout = 60
domains = {REALM}

[domain/{REALM}]
id_provider = ldap
auth_provider = ldap
access_provider = permit
chpass_provider = none
sudo_provider = none
autofs_provider = none
selinux_provider = none
subdomains_provider = none
session_provider = none
hostid_provider = none
resolver_provider = none
ldap_uri = ldaps://{CONTROLLER}
ldap_tls_cacert = /etc/ldap/cert.pem
ldap_search_base = {BASE}
use_fully_qualified_names = true
case_sensitive = false
entry_cache_timeout = 5
cache_credentials = false
ldap_network_timeout = 60
ldap_opt_timeout = 60
ldap_search_timeout = 60
dns_resolver_op_timeout = 60
dns_resolver_timeout = 90
offline_timeout = 2
offline_timeout_max = 4
offline_timeout_random_offset = 0
"""


def full(name):
    """A name as the domain writes it."""
    return f"{name}@{REALM}"


def _ldif():
    """Everybody in the domain."""
    entries = [f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: corp\no: Corp\n"]
    for name, number in PEOPLE.items():
        entries.append(f"dn: uid={name},{BASE}\nobjectClass: account\nobjectClass: posixAccount\nuid: {name}\ncn: {name}\nuidNumber: {number}\n"
                       f"gidNumber: {GROUPS['people'][0]}\nhomeDirectory: /home/{name}\nloginShell: /bin/sh\nuserPassword: {PASSWORDS[name]}\n")
    for name, (number, members) in GROUPS.items():
        entries.append(f"dn: cn={name},{BASE}\nobjectClass: posixGroup\ncn: {name}\ngidNumber: {number}\n" + "".join(f"memberUid: {m}\n" for m in members))
    return "\n".join(entries)


def _certify(machine):
    """The controller's certificate, which sssd trusts: signed by itself."""
    key, cert = machine.folder / "key.pem", machine.folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
                    "-subj", f"/CN={CONTROLLER}", "-addext", f"subjectAltName=DNS:{CONTROLLER}", "-keyout", key, "-out", cert], check=True, capture_output=True)
    machine.push(key, "/etc/ldap/key.pem", mode="600")
    machine.push(cert, "/etc/ldap/cert.pem")


def _join(machine):
    """Unpacks, configures and starts both, and has PAM and NSS ask sssd."""
    machine.sh(f"date -s @{time.time():.3f} > /dev/null")  # a snapshot is older than the certificate
    machine.push(OUT / "domain" / "domain.tar.gz", "/root/domain.tar.gz")
    machine.sh("tar -C / --keep-directory-symlink -xpf /root/domain.tar.gz && rm /root/domain.tar.gz && ldconfig && systemctl daemon-reload")
    machine.sh(f"sed -i 's/^127.0.0.1 .*/& {CONTROLLER}/' /etc/hosts")
    _certify(machine)
    machine.push(SLAPD_CONF, "/etc/ldap/slapd.conf")
    machine.push(SLAPD_UNIT, "/etc/systemd/system/slapd.service")
    machine.push(_ldif(), "/run/domain.ldif")
    machine.sh("mkdir -p /var/lib/ldap && slapadd -f /etc/ldap/slapd.conf -l /run/domain.ldif")
    for name, number in PEOPLE.items():
        machine.sh(f"install -d -o {number} -g {GROUPS['people'][0]} /home/{name}")
    machine.push(SSSD_CONF, "/etc/sssd/sssd.conf", mode="600")
    machine.push("[Service]\nTimeoutStartSec=5min\n", "/etc/systemd/system/sssd.service.d/slow.conf")
    machine.sh("sed -i -E 's/^(passwd|group):.*/& sss/' /etc/nsswitch.conf; DEBIAN_FRONTEND=noninteractive pam-auth-update --enable sss")
    machine.sh("systemctl daemon-reload && systemctl start slapd && systemctl enable --now sssd", timeout=2 * PATIENCE)
    machine.until(f"getent passwd {full('dora')}", timeout=2 * PATIENCE)


def joined(below):
    """The layer of a machine that has joined, made from `below` if it is not there."""
    packages = (OUT / "domain").resolve().name
    return layers.on_top("joined", "\n".join([packages, SLAPD_CONF, SLAPD_UNIT, SSSD_CONF, _ldif(), inspect.getsource(_join)]), below, _join)
