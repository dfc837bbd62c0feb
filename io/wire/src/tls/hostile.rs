//! Records that no honest peer sends: each ends its own connection, with the alert that the protocol has for it, and
//! holds no more than its bounds.

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{self, IoSlice};

    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use crate::buffer::Buffers;
    use crate::io::Io;
    use crate::tls::record::{Cipher, Kind, RecordError};
    use crate::tls::session::IDLE_RECORDS_MAX;
    use crate::tls::{ClientAuth, ClientSettings, ClientTls, Material, ServerSettings, ServerTls, Tls};

    /// A server under test, and a client that has made its handshake and now says what it likes.
    struct Attack {
        server: Io,
        client: TcpStream,
        tx: Cipher,
        rx: Cipher,
    }

    async fn attack(version: Tls) -> Attack {
        let (tls12, tls13) = (version == Tls::V12, version == Tls::V13);
        let (server, client) = (ServerTls::default(), ClientTls::default());
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["b.local".to_owned()]).unwrap().self_signed(&key).unwrap();
        let material = Material::read(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let settings = ServerSettings {
            alpn: Vec::new(),
            client_auth: ClientAuth::Optional,
            require_sni: false,
            tickets: false,
            tls12,
            tls13,
            suites: Default::default(),
        };
        server.replace(&settings, material, None).unwrap();
        let settings = ClientSettings {
            sni: "b.local".to_owned(),
            alpn: Vec::new(),
            tls12,
            tls13,
            suites: Default::default(),
        };
        client.replace(&settings, None, selvedge_identity::Verifier::accepting_any().into()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, two) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut ours, mut theirs) =
            (Io::new(two.unwrap().0, Buffers::default()), Io::new(one.unwrap(), Buffers::default()));
        let (of_server, of_client) = (server.current().unwrap(), client.current().unwrap());
        let (one, two) = tokio::join!(
            crate::tls::accept(&mut ours, &of_server),
            crate::tls::connect(&mut theirs, &of_client, [127, 0, 0, 1].into())
        );
        one.unwrap();
        two.unwrap();
        let (client, tx, rx) = theirs.dismantle();
        Attack { server: ours, client, tx, rx }
    }

    impl Attack {
        fn seal(&mut self, kind: Kind, content: &[u8]) -> Vec<u8> {
            let mut room = vec![0; content.len() + 64];
            let length = self.tx.seal(kind, &[IoSlice::new(content)], 0, content.len(), &mut room).unwrap();
            room.truncate(length);
            room
        }

        async fn send(&mut self, bytes: &[u8]) {
            self.client.write_all(bytes).await.unwrap();
        }

        /// What the server makes of it.
        async fn outcome(&mut self) -> io::Result<Vec<u8>> {
            poll_fn(|cx| self.server.poll_fill(cx)).await?;
            let content = self.server.unread().to_vec();
            self.server.consume(content.len());
            Ok(content)
        }

        /// The connection ends for `error`, and the client is told by `alert`.
        async fn ends(&mut self, error: RecordError, alert: u8) {
            let end = self.outcome().await.unwrap_err();
            let found = end.get_ref().and_then(|inner| inner.downcast_ref::<RecordError>());
            assert_eq!(found, Some(&error));
            assert_eq!(end.kind(), io::ErrorKind::InvalidData);
            let mut record = vec![0; 5];
            self.client.read_exact(&mut record).await.unwrap();
            record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
            self.client.read_exact(&mut record[5..]).await.unwrap();
            let (kind, content) = self.rx.open(&mut record).unwrap();
            assert_eq!((kind, &record[content]), (Kind::Alert, &[2, alert][..]));
            assert!(
                poll_fn(|cx| self.server.poll_fill(cx)).await.is_ok_and(|read| read == 0),
                "and stays ended"
            );
        }
    }

    const VERSIONS: [Tls; 2] = [Tls::V12, Tls::V13];
    const UNEXPECTED_MESSAGE: u8 = 10;
    const BAD_RECORD_MAC: u8 = 20;
    const RECORD_OVERFLOW: u8 = 22;

    #[tokio::test]
    async fn a_forged_replayed_or_reordered_record_ends_its_connection() {
        for version in VERSIONS {
            for at in [0, 5, 14, 20] {
                let mut attack = attack(version).await;
                let mut record = attack.seal(Kind::Application, b"honest bytes");
                // The first byte is the record's kind: in 1.3 it says nothing, and in 1.2 it is signed.
                record[if at == 0 { 0 } else { at }] ^= 1;
                attack.send(&record).await;
                match (version, at) {
                    (Tls::V13, 0) => attack.ends(RecordError::Unexpected, UNEXPECTED_MESSAGE).await,
                    _ => attack.ends(RecordError::Forged, BAD_RECORD_MAC).await,
                }
            }
            let mut replayed = attack(version).await;
            let record = replayed.seal(Kind::Application, b"once");
            replayed.send(&record).await;
            assert_eq!(replayed.outcome().await.unwrap(), b"once");
            replayed.send(&record).await;
            replayed.ends(RecordError::Forged, BAD_RECORD_MAC).await;

            let mut reordered = attack(version).await;
            let first = reordered.seal(Kind::Application, b"first");
            let second = reordered.seal(Kind::Application, b"second");
            reordered.send(&[second, first].concat()).await;
            reordered.ends(RecordError::Forged, BAD_RECORD_MAC).await;

            let mut short = attack(version).await;
            short.send(&[23, 3, 3, 0, 3, 1, 2, 3]).await;
            short.ends(RecordError::Forged, BAD_RECORD_MAC).await;
        }
    }

    #[tokio::test]
    async fn an_oversized_record_is_refused_by_its_header_before_its_content_has_come() {
        for version in VERSIONS {
            let mut attack = attack(version).await;
            attack.send(&[23, 3, 3, 0xff, 0xff]).await;
            attack.ends(RecordError::TooLong, RECORD_OVERFLOW).await;
        }
        // One that is honestly sealed, and holds more than a record may.
        let mut attack = attack(Tls::V13).await;
        let record = attack.seal(Kind::Application, &[7; crate::tls::record::CONTENT_BYTES_MAX + 1]);
        attack.send(&record).await;
        attack.ends(RecordError::TooLong, RECORD_OVERFLOW).await;
    }

    #[tokio::test]
    async fn records_without_content_end_a_connection_after_so_many_in_a_row() {
        for version in VERSIONS {
            let mut attack = attack(version).await;
            for _ in 0..3 {
                // As many as may be, and a word in between.
                for _ in 0..IDLE_RECORDS_MAX {
                    let empty = attack.seal(Kind::Application, b"");
                    attack.send(&empty).await;
                }
                let word = attack.seal(Kind::Application, b"word");
                attack.send(&word).await;
                assert_eq!(attack.outcome().await.unwrap(), b"word");
            }
            for _ in 0..=IDLE_RECORDS_MAX {
                let empty = attack.seal(Kind::Application, b"");
                attack.send(&empty).await;
            }
            attack.ends(RecordError::Idle, UNEXPECTED_MESSAGE).await;
        }
    }

    #[tokio::test]
    async fn warnings_and_key_updates_are_bounded_like_empty_records() {
        let mut warnings = attack(Tls::V12).await;
        for _ in 0..=IDLE_RECORDS_MAX {
            let warning = warnings.seal(Kind::Alert, &[1, 100]);
            warnings.send(&warning).await;
        }
        warnings.ends(RecordError::Idle, UNEXPECTED_MESSAGE).await;

        // Requests for an update that nobody follows up: the second comes under keys that have changed.
        let mut update = attack(Tls::V13).await;
        let message = update.seal(Kind::Handshake, &[24, 0, 0, 1, 1]);
        update.send(&message).await;
        let stale = update.seal(Kind::Application, b"under the old keys");
        update.send(&stale).await;
        let end = update.outcome().await.unwrap_err();
        assert_eq!(end.get_ref().and_then(|it| it.downcast_ref()), Some(&RecordError::Forged));
    }

    #[tokio::test]
    async fn nobody_begins_a_handshake_anew() {
        let hello = [1, 0, 0, 40];
        let mut old = attack(Tls::V12).await;
        let message = old.seal(Kind::Handshake, &hello);
        old.send(&message).await;
        old.ends(RecordError::Renegotiation, UNEXPECTED_MESSAGE).await;

        let mut new = attack(Tls::V13).await;
        let message = new.seal(Kind::Handshake, &[&hello[..], &[0; 40]].concat());
        new.send(&message).await;
        new.ends(RecordError::Unexpected, UNEXPECTED_MESSAGE).await;
    }

    #[tokio::test]
    async fn a_message_after_the_handshake_that_never_ends_is_refused_by_its_length() {
        let mut attack = attack(Tls::V13).await;
        let message = attack.seal(Kind::Handshake, &[4, 0xff, 0xff, 0xff, 0]);
        attack.send(&message).await;
        attack.ends(RecordError::TooLong, RECORD_OVERFLOW).await;
    }

    #[tokio::test]
    async fn padding_alone_is_no_record() {
        let mut attack = attack(Tls::V13).await;
        // Zeros where the content's type should be.
        let record = attack.tx.seal_raw(&[0; 64]);
        attack.send(&record).await;
        attack.ends(RecordError::Unexpected, UNEXPECTED_MESSAGE).await;
    }

    #[tokio::test]
    async fn a_record_in_single_bytes_is_a_record() {
        for version in VERSIONS {
            let mut attack = attack(version).await;
            let record = attack.seal(Kind::Application, b"patience");
            attack.client.set_nodelay(true).unwrap();
            let (last, rest) = record.split_last().unwrap();
            for byte in rest {
                attack.send(&[*byte]).await;
                let polled = poll_fn(|cx| std::task::Poll::Ready(attack.server.poll_fill(cx))).await;
                assert!(polled.is_pending(), "{polled:?}");
            }
            attack.send(&[*last]).await;
            assert_eq!(attack.outcome().await.unwrap(), b"patience");
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_off_in_a_record_ends_without_a_word() {
        for version in VERSIONS {
            let mut attack = attack(version).await;
            let record = attack.seal(Kind::Application, b"half of this");
            attack.send(&record[..record.len() / 2]).await;
            attack.client.shutdown().await.unwrap();
            assert_eq!(attack.outcome().await.unwrap(), b"", "nothing that was not whole is content");
        }
    }
}
