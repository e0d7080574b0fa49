-- One row per (application, join_key): the union of its events, folded as the worker folds them (joinback_worker/law).
--
-- No aggregate here depends on the order in which rows were inserted or parts were merged: of each event the row with
-- the smallest digest counts, and every order is that of (ordered_at_us, event_id).
CREATE OR REPLACE VIEW records AS
WITH
-- The rules of each application as of its last drain, and the time of that drain.
policy AS (
    SELECT application, argMax(rules, written_at) AS declared, argMax(tuple(now_us), written_at).1 AS now_us
    FROM policies
    GROUP BY application
),
ruling AS (
    SELECT
        application,
        now_us,
        declared != '' AS is_declared,
        JSONExtractFloat(declared, 'join_window_s') AS declared_window_s,
        JSONExtract(declared, 'maturity_s', 'Nullable(Float64)') AS maturity_s,
        JSONExtract(declared, 'labels', 'Array(String)') AS labels,
        JSONExtract(declared, 'fields', 'Array(Tuple(name String, reducer String, scalar String,
            sources Array(String), default Nullable(String), maturity_s Nullable(Float64)))') AS rules
    FROM policy
),
-- With it the aggregate below finds whether feedback holds a label. To keep all names of fields in it instead would
-- cost more than the rest of the view.
(SELECT mapFromArrays(groupArray(toString(application)), groupArray(labels)) FROM ruling) AS labels_of,
-- Nearly every key is plain: it has at most one prediction and one feedback event (which may be repeated), and no
-- retraction. ClickHouse runs this aggregate for each of its two readers, with only the columns that the query needs
-- and with the filters of the query.
keys AS (
    SELECT
        application, join_key,
        countIf(kind = 'retraction') = 0
            AND minIf(sipHash64(event_id, digest), kind = 'prediction')
                = maxIf(sipHash64(event_id, digest), kind = 'prediction')
            AND minIf(sipHash64(event_id, digest), kind = 'feedback')
                = maxIf(sipHash64(event_id, digest), kind = 'feedback') AS is_plain,
        countIf(kind = 'prediction') > 0 AS has_prediction,
        countIf(kind = 'feedback') > 0 AS has_feedback,
        anyIf(ordered_at_us, kind = 'prediction') AS winner_t,
        anyIf(event_id, kind = 'prediction') AS winner_id,
        anyIf(event_at, kind = 'prediction') AS winner_at,
        anyIf(logged_at, kind = 'prediction') AS winner_logged_at,
        anyIf(tuple(e.version, e.environment), kind = 'prediction') AS of_winner,
        anyIf(e.inputs, kind = 'prediction') AS inputs,
        anyIf(e.outputs, kind = 'prediction') AS outputs,
        anyIf(e.tags, kind = 'prediction') AS tags,
        anyIf(e.sample_rate, kind = 'prediction') AS sample_rate,
        anyIf(ordered_at_us, kind = 'feedback') AS feedback_t,
        anyIf(event_id, kind = 'feedback') AS feedback_id,
        anyIf(tuple(e.version, e.environment), kind = 'feedback') AS of_feedback,
        anyIf(event, kind = 'feedback') AS feedback_event,
        maxIf(if(empty(labels_of[toString(application)]), notEmpty(fields),
            hasAny(fields, labels_of[toString(application)])), kind = 'feedback') AS has_label,
        anyIf(fields, kind = 'feedback') AS feedback_fields,
        anyIf(field_values, kind = 'feedback') AS feedback_values,
        max(ordered_at_us != toUnixTimestamp64Micro(event_at)) AS clock_skew,
        max(written_at) AS updated_at
    FROM events AS e
    GROUP BY application, join_key
),
plain AS (
    SELECT
        *,
        -- Before the first drain has published the rules, nothing is late.
        has_feedback AND (NOT has_prediction
            OR feedback_t <= winner_t + if(is_declared, declared_window_s, 1e12) * 1e6) AS is_in_time,
        if(is_in_time, feedback_fields, emptyArrayString()) AS names
    FROM keys LEFT JOIN ruling USING (application)
    WHERE is_plain
),
-- The other keys, with each event once. tuple(), as argMin would pass over a NULL.
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
        argMin(field_values, digest) AS values_json,
        argMin(all_fields, digest) AS everything,
        max(written_at) AS event_written_at
    FROM events AS e JOIN (SELECT application, join_key FROM keys WHERE NOT is_plain) AS other
        USING (application, join_key)
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
        -- From the prediction that wins; an orphan takes them from its last feedback.
        argMinIf(tuple(event_version, event_environment), (t, event_id), kind = 'prediction') AS of_winner,
        argMaxIf(tuple(event_version, event_environment), (t, event_id), kind = 'feedback') AS of_feedback,
        arraySort(groupArrayIf((t, event_id, names, values_json, if(startsWith(event_json, '{"v":2'),
            JSONExtractString(event_json, 'source'), '')), kind = 'feedback')) AS feedback_sorted,
        -- The latest retraction first.
        arrayReverseSort(groupArrayIf((t, event_id, names, everything, event_json), kind = 'retraction'))
            AS retractions_sorted,
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
-- The retractions, and those of them that a later one takes back (`void`). It goes from the latest to the earliest:
-- each retraction that is not void makes void the earlier ones that it names.
named AS (
    SELECT
        *,
        arrayMap(r -> (r.1, r.2, r.3, r.4, startsWith(r.5, '{"v":2'), JSONExtract(r.5, 'event_ids', 'Array(String)')),
            retractions_sorted) AS retractions,
        arrayFold(
            (sofar, r) -> if(has(sofar.1, r.2), (sofar.1, arrayPushBack(sofar.2, r.2)),
                (arrayConcat(sofar.1, JSONExtract(r.5, 'retraction_ids', 'Array(String)')), sofar.2)),
            retractions_sorted, (emptyArrayString(), emptyArrayString())).2 AS void,
        arrayMap(r -> r.name, rules) AS ruled_names
    FROM gathered LEFT JOIN ruling USING (application)
),
-- The values of feedback that came within the join window and that no retraction takes back:
-- (t, event_id, name, value, rank of the source).
valid AS (
    SELECT
        *,
        arrayFilter(
            f -> NOT arrayExists(r -> NOT has(void, r.2) AND (r.4 OR has(r.3, f.3))
                AND if(r.5, has(r.6, f.2), r.1 >= f.1), retractions),
            arrayFlatten(arrayMap(
                e -> arrayMap((name, value) -> (e.1, e.2, name, value, e.5), e.3, e.4),
                arrayFilter(e -> predictions = 0
                    OR e.1 <= first.1 + if(is_declared, declared_window_s, 1e12) * 1e6, feedback_sorted)
            ))
        ) AS not_taken_back,
        arrayMap(f -> (f.1, f.2, f.3, f.4, if(has(rules[indexOf(ruled_names, f.3)].sources, f.5),
            indexOf(rules[indexOf(ruled_names, f.3)].sources, f.5),
            length(rules[indexOf(ruled_names, f.3)].sources) + 1)), not_taken_back) AS valid_values
    FROM named
),
-- Of these, for each field the values of its best source.
weighed AS (
    SELECT
        *,
        if(arrayUniq(arrayMap(f -> f.5, valid_values)) < 2, valid_values, arrayFilter(
            f -> f.5 = arrayMin(arrayMap(g -> g.5, arrayFilter(g -> g.3 = f.3, valid_values))), valid_values)
        ) AS counted,
        arrayMap(f -> f.1, arrayFilter(f -> empty(labels) OR has(labels, f.3), counted)) AS label_times
    FROM valid
),
-- The plain and the other keys together: each field of the feedback with its values and their times.
gathered_fields AS (
    SELECT
        application, join_key, now_us, maturity_s, rules, has_prediction, winner_t, winner_id, winner_at,
        winner_logged_at,
        if(has_prediction, of_winner, of_feedback) AS described,
        inputs, outputs, tags, sample_rate,
        arraySort(arrayMap((name, value) -> (name, [value], [feedback_t]), names,
            if(is_in_time, feedback_values, emptyArrayString()))) AS given_fields,
        is_in_time AND has_label AS is_labelled,
        feedback_t AS first_label_t,
        if(has_feedback, concat('{', toJSONString(concat('feedback:', feedback_id)), ':', feedback_event, '}'), NULL)
            AS feedback_events,
        CAST(NULL, 'Nullable(String)') AS conflicts,
        clock_skew, updated_at,
        toUInt64(has_prediction) + toUInt64(has_feedback) AS row_version
    FROM plain
    UNION ALL
    SELECT
        application, join_key, now_us, maturity_s, rules, predictions > 0, first.1, first.2, winner_at,
        winner_logged_at,
        if(predictions > 0, of_winner, of_feedback),
        inputs, outputs, tags, sample_rate,
        arrayMap(
            name -> (name, arrayMap(f -> f.4, arrayFilter(f -> f.3 = name, counted)),
                arrayMap(f -> f.1, arrayFilter(f -> f.3 = name, counted))),
            arraySort(arrayDistinct(arrayMap(f -> f.3, counted)))
        ),
        notEmpty(label_times),
        arrayMin(label_times),
        if(empty(history), NULL, concat('{', arrayStringConcat(
            arrayMap(h -> concat(toJSONString(concat(h.1, ':', h.3)), ':', h.4), history), ','), '}')),
        if(empty(losers), NULL, concat('{', arrayStringConcat(
            arrayMap(p -> concat(toJSONString(concat('prediction:', p.2)), ':', p.3), losers), ','), '}')),
        clock_skew, updated_at, row_version
    FROM weighed
),
-- Each field's values as values of the declared type, if that loses nothing; and the fields that take their default.
folded AS (
    SELECT
        *,
        arrayMap(r -> r.name, rules) AS ruled_names,
        arrayMap(g -> (g.1, arrayMap(v -> multiIf(
            v = 'null', 'null',
            rules[indexOf(ruled_names, g.1)].scalar = 'bool', multiIf(
                lower(v) IN ('true', '"true"', '1', '"1"', '1.0'), 'true',
                lower(v) IN ('false', '"false"', '0', '"0"', '0.0'), 'false', v),
            rules[indexOf(ruled_names, g.1)].scalar = 'int',
                ifNull(nullIf(extract(v, '^"?(-?(?:0|[1-9][0-9]*))(?:\\.0+)?"?$'), ''), v),
            rules[indexOf(ruled_names, g.1)].scalar = 'float', ifNull(nullIf(extract(v,
                '^"(-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)"$'), ''), v),
            rules[indexOf(ruled_names, g.1)].scalar = 'str' AND left(v, 1) NOT IN ('"', '{', '['),
                concat('"', v, '"'),
            v
        ), g.2), rules[indexOf(ruled_names, g.1)].reducer, g.3), given_fields) AS by_field,
        arrayFlatten(arrayMap(g -> g.3, given_fields)) AS times,
        has_prediction AND NOT is_labelled
            AND ifNull(winner_t < now_us - maturity_s * 1e6, false) AS is_unlabelled,
        arrayFilter(r -> has_prediction AND isNotNull(r.default)
            AND ifNull(winner_t < now_us - r.maturity_s * 1e6, false)
            AND NOT has(arrayMap(g -> g.1, given_fields), r.name), rules) AS defaults
    FROM gathered_fields
),
-- The numbers among the values, each with its text.
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
    FROM folded
)
SELECT
    application,
    join_key,
    multiIf(NOT has_prediction, 'orphan', is_labelled, 'joined', is_unlabelled, 'unlabelled', 'predicted') AS status,
    described.2 AS environment,
    described.1 AS version,
    if(has_prediction, winner_at, NULL) AS predicted_at,
    inputs,
    outputs,
    tags,
    if(empty(by_field) AND empty(defaults), NULL, concat('{', arrayStringConcat(
        arrayMap(v -> concat(toJSONString(v.1), ':', v.2), arraySort(arrayConcat(
            arrayMap(r -> (r.name, assumeNotNull(r.default)), defaults),
            arrayMap(g -> (g.1, multiIf(
                g.3 = 'first', g.2[1],
                g.3 = 'count', toString(arrayCount(v -> v != 'null', g.2)),
                -- The most frequent value; of several, the one that came last.
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
    if(empty(by_field), NULL, concat('{', arrayStringConcat(arrayMap(g -> concat(
        toJSONString(g.1),
        ':{"first":"', formatDateTime(fromUnixTimestamp64Micro(arrayMin(g.5), 'UTC'), '%Y-%m-%dT%H:%i:%S.%fZ'),
        '","last":"', formatDateTime(fromUnixTimestamp64Micro(arrayMax(g.5), 'UTC'), '%Y-%m-%dT%H:%i:%S.%fZ'), '"}'
    ), by_number), ','), '}')) AS field_times,
    if(empty(times), NULL, fromUnixTimestamp64Micro(arrayMax(times), 'UTC')) AS feedback_at,
    if(empty(times), NULL, fromUnixTimestamp64Micro(arrayMin(times), 'UTC')) AS first_feedback_at,
    if(is_labelled AND has_prediction, (first_label_t - winner_t) / 1e6, NULL) AS feedback_delay_s,
    feedback_events,
    conflicts,
    sample_rate,
    clock_skew,
    if(has_prediction, winner_logged_at, NULL) AS logged_at,
    if(has_prediction, winner_id, NULL) AS prediction_event_id,
    updated_at,
    row_version
FROM numbered
