-- One row per (application, join_key): the union of its events, folded by the law of fold.py and row.py.
--
-- No aggregate here depends on the order in which rows were inserted or parts were merged: each event is taken
-- by its smallest digest, and what is ordered is ordered by (ordered_at_us, event_id).
CREATE OR REPLACE VIEW records AS
WITH
-- Each event once. tuple(): argMin passes over NULL otherwise.
one AS (
    SELECT
        application, join_key, kind, event_id,
        argMin(ordered_at_us, digest) AS t,
        argMin(e.event_at, digest) AS happened_at,
        argMin(e.logged_at, digest) AS event_logged_at,
        argMin(tuple(version), digest).1 AS event_version,
        argMin(tuple(environment), digest).1 AS event_environment,
        argMin(tuple(tags), digest).1 AS event_tags,
        argMin(event, digest) AS event_json,
        argMin(tuple(inputs), digest).1 AS event_inputs,
        argMin(tuple(outputs), digest).1 AS event_outputs,
        argMin(tuple(sample_rate), digest).1 AS event_sample_rate,
        argMin(fields, digest) AS names,
        argMin(field_values, digest) AS told,
        argMin(all_fields, digest) AS everything,
        max(written_at) AS event_written_at
    FROM events AS e
    GROUP BY application, join_key, kind, event_id
),
gathered AS (
    SELECT
        application, join_key,
        countIf(kind = 'prediction') AS predictions,
        minIf((t, event_id), kind = 'prediction') AS first,
        argMinIf(happened_at, (t, event_id), kind = 'prediction') AS winner_at,
        argMinIf(event_logged_at, (t, event_id), kind = 'prediction') AS winner_logged_at,
        argMinIf(tuple(event_inputs), (t, event_id), kind = 'prediction').1 AS inputs,
        argMinIf(tuple(event_outputs), (t, event_id), kind = 'prediction').1 AS outputs,
        argMinIf(tuple(event_tags), (t, event_id), kind = 'prediction').1 AS tags,
        argMinIf(tuple(event_sample_rate), (t, event_id), kind = 'prediction').1 AS sample_rate,
        -- Of the winner; of an orphan, of what was told last.
        argMinIf(tuple(event_version, event_environment), (t, event_id), kind = 'prediction') AS of_winner,
        argMaxIf(tuple(event_version, event_environment), (t, event_id), kind = 'feedback') AS of_feedback,
        arraySort(groupArrayIf((t, event_id, names, told, if(startsWith(event_json, '{"v":2'),
            JSONExtractString(event_json, 'source'), '')), kind = 'feedback')) AS said,
        -- The latest first.
        arrayReverseSort(groupArrayIf((t, event_id, names, everything, event_json), kind = 'retraction')) AS taken_back,
        arraySort(groupArrayIf((kind, t, event_id, event_json), kind != 'prediction')) AS history,
        arraySlice(arraySort(groupArrayIf((t, event_id, concat(
            left(event_json, length(event_json) - 1), ',"inputs":', event_inputs, ',"outputs":', event_outputs,
            if(event_sample_rate = 1, '}', concat(',"sample_rate":', toString(event_sample_rate), '}'))
        )), kind = 'prediction' AND event_json != '')), 2) AS losers,
        max(t != toUnixTimestamp64Micro(happened_at)) AS clock_skew,
        max(event_written_at) AS updated_at,
        count() AS row_version
    FROM one
    GROUP BY application, join_key
),
-- The rules as the last drain of each application had them, and its time.
policy AS (
    SELECT application, argMax(rules, written_at) AS declared, argMax(tuple(now_us), written_at).1 AS now_us
    FROM policies
    GROUP BY application
),
ruled AS (
    SELECT
        *,
        -- Nothing is late before a drain has said what is.
        if(declared = '', 1e12, JSONExtractFloat(declared, 'join_window_s')) AS join_window_s,
        JSONExtract(declared, 'maturity_s', 'Nullable(Float64)') AS maturity_s,
        JSONExtract(declared, 'labels', 'Array(String)') AS labels,
        JSONExtract(declared, 'fields', 'Array(Tuple(name String, reducer String, scalar String,
            sources Array(String), default Nullable(String), maturity_s Nullable(Float64)))') AS rules,
        arrayMap(r -> r.name, rules) AS ruled_names
    FROM gathered LEFT JOIN policy USING (application)
),
-- What retractions name, and which of them a later one takes back: from the latest on, each that stands takes back
-- those of the earlier ones that it names.
named AS (
    SELECT
        *,
        arrayMap(r -> (r.1, r.2, r.3, r.4, startsWith(r.5, '{"v":2'), JSONExtract(r.5, 'event_ids', 'Array(String)')),
            taken_back) AS retractions,
        arrayFold(
            (sofar, r) -> if(has(sofar.1, r.2), (sofar.1, arrayPushBack(sofar.2, r.2)),
                (arrayConcat(sofar.1, JSONExtract(r.5, 'retraction_ids', 'Array(String)')), sofar.2)),
            taken_back, (emptyArrayString(), emptyArrayString())).2 AS void
    FROM ruled
),
-- What was told within the join window and not taken back: (t, event_id, name, value, source, rules of the field), the
-- value as one of the declared type where that loses nothing.
told AS (
    SELECT
        *,
        arrayFilter(
            f -> NOT arrayExists(r -> NOT has(void, r.2) AND (r.4 OR has(r.3, f.3))
                AND if(r.5, has(r.6, f.2), r.1 >= f.1), retractions),
            arrayFlatten(arrayMap(
                e -> arrayMap((name, value) -> (e.1, e.2, name, value, e.5), e.3, e.4),
                arrayFilter(e -> predictions = 0 OR e.1 <= first.1 + join_window_s * 1e6, said)
            ))
        ) AS standing,
        arrayMap(f -> (f.1, f.2, f.3, multiIf(
            f.4 = 'null', 'null',
            rules[indexOf(ruled_names, f.3)].scalar = 'bool', multiIf(
                lower(f.4) IN ('true', '"true"', '1', '"1"', '1.0'), 'true',
                lower(f.4) IN ('false', '"false"', '0', '"0"', '0.0'), 'false', f.4),
            rules[indexOf(ruled_names, f.3)].scalar = 'int',
                ifNull(nullIf(extract(f.4, '^"?(-?(?:0|[1-9][0-9]*))(?:\\.0+)?"?$'), ''), f.4),
            rules[indexOf(ruled_names, f.3)].scalar = 'float', ifNull(nullIf(extract(f.4,
                '^"(-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)"$'), ''), f.4),
            rules[indexOf(ruled_names, f.3)].scalar = 'str' AND left(f.4, 1) NOT IN ('"', '{', '['),
                concat('"', f.4, '"'),
            f.4
        ), if(has(rules[indexOf(ruled_names, f.3)].sources, f.5),
            indexOf(rules[indexOf(ruled_names, f.3)].sources, f.5),
            length(rules[indexOf(ruled_names, f.3)].sources) + 1)), standing) AS all_told
    FROM named
),
-- Of each field the values of its best source, and what nobody told in time.
weighed AS (
    SELECT
        *,
        if(arrayUniq(arrayMap(f -> f.5, all_told)) < 2, all_told, arrayFilter(
            f -> f.5 = arrayMin(arrayMap(g -> g.5, arrayFilter(g -> g.3 = f.3, all_told))), all_told)) AS counted,
        arrayMap(f -> f.1, counted) AS times,
        arrayMap(f -> f.1, arrayFilter(f -> empty(labels) OR has(labels, f.3), counted)) AS label_times,
        predictions > 0 AND empty(label_times)
            AND ifNull(first.1 < now_us - maturity_s * 1e6, false) AS is_unlabelled,
        arrayFilter(r -> predictions > 0 AND isNotNull(r.default)
            AND ifNull(first.1 < now_us - r.maturity_s * 1e6, false)
            AND NOT has(arrayMap(f -> f.3, all_told), r.name), rules) AS defaults,
        arrayMap(
            name -> (name, arrayMap(f -> f.4, arrayFilter(f -> f.3 = name, counted)),
                rules[indexOf(ruled_names, name)].reducer, arrayMap(f -> f.1, arrayFilter(f -> f.3 = name, counted))),
            arraySort(arrayDistinct(arrayMap(f -> f.3, counted)))
        ) AS by_field
    FROM told
),
-- Each field's values, and the numbers among them with the text they came in.
numbered AS (
    SELECT
        *,
        arrayMap(
            g -> (g.1, g.2, g.3, arrayFilter(n -> isNotNull(n.1), arrayMap(
                v -> (multiIf(v = 'true', 1., v = 'false', 0., match(v, '^-?[0-9]'), toFloat64OrNull(v), NULL),
                      multiIf(v = 'true', '1', v = 'false', '0', v)),
                g.2)), g.4),
            by_field
        ) AS by_number
    FROM weighed
)
SELECT
    application,
    join_key,
    multiIf(predictions = 0, 'orphan', notEmpty(label_times), 'joined', is_unlabelled, 'unlabelled', 'predicted') AS status,
    if(predictions > 0, of_winner.2, of_feedback.2) AS environment,
    if(predictions > 0, of_winner.1, of_feedback.1) AS version,
    if(predictions > 0, winner_at, NULL) AS predicted_at,
    inputs,
    outputs,
    tags,
    if(empty(counted) AND empty(defaults), NULL, concat('{', arrayStringConcat(
        arrayMap(v -> concat(toJSONString(v.1), ':', v.2), arraySort(arrayConcat(
            arrayMap(r -> (r.name, assumeNotNull(r.default)), defaults),
            arrayMap(g -> (g.1, multiIf(
                g.3 = 'first', g.2[1],
                g.3 = 'count', toString(arrayCount(v -> v != 'null', g.2)),
                -- The most frequent; of several, the one told last.
                g.3 = 'majority', arraySort((v, n) -> (-countEqual(g.2, v), -n), g.2, arrayEnumerate(g.2))[1],
                g.3 NOT IN ('sum', 'mean', 'min', 'max'), g.2[-1],
                empty(g.4), 'null',
                g.3 = 'min', arraySort(n -> n.1, g.4)[1].2,
                g.3 = 'max', arrayReverseSort(n -> n.1, g.4)[1].2,
                g.3 = 'mean', toString(arrayReduce('sumKahan', arrayMap(n -> assumeNotNull(n.1), g.4)) / length(g.4)),
                arrayAll(n -> match(n.2, '^-?[0-9]+$'), g.4), toString(arraySum(n -> toInt256OrZero(n.2), g.4)),
                toString(arrayReduce('sumKahan', arrayMap(n -> assumeNotNull(n.1), g.4)))
            )), by_number)
        ))), ','), '}')) AS feedback,
    if(empty(defaults), NULL, toJSONString(arraySort(arrayMap(r -> r.name, defaults)))) AS default_fields,
    if(empty(counted), NULL, concat('{', arrayStringConcat(arrayMap(g -> concat(
        toJSONString(g.1),
        ':{"first":"', formatDateTime(fromUnixTimestamp64Micro(arrayMin(g.5), 'UTC'), '%Y-%m-%dT%H:%i:%S.%fZ'),
        '","last":"', formatDateTime(fromUnixTimestamp64Micro(arrayMax(g.5), 'UTC'), '%Y-%m-%dT%H:%i:%S.%fZ'), '"}'
    ), by_number), ','), '}')) AS field_times,
    if(empty(times), NULL, fromUnixTimestamp64Micro(arrayMax(times), 'UTC')) AS feedback_at,
    if(empty(times), NULL, fromUnixTimestamp64Micro(arrayMin(times), 'UTC')) AS first_feedback_at,
    if(empty(label_times) OR predictions = 0, NULL, (arrayMin(label_times) - first.1) / 1e6) AS feedback_delay_s,
    if(empty(history), NULL, concat('{', arrayStringConcat(
        arrayMap(h -> concat(toJSONString(concat(h.1, ':', h.3)), ':', h.4), history), ','), '}')) AS feedback_events,
    if(empty(losers), NULL, concat('{', arrayStringConcat(
        arrayMap(p -> concat(toJSONString(concat('prediction:', p.2)), ':', p.3), losers), ','), '}')) AS conflicts,
    sample_rate,
    clock_skew,
    if(predictions > 0, winner_logged_at, NULL) AS logged_at,
    if(predictions > 0, first.2, NULL) AS prediction_event_id,
    updated_at,
    row_version
FROM numbered
